"""Places in a store: names, patterns, what is never shown; with fsspec's store in memory."""

from __future__ import annotations

import json
import logging
import os
import re
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filehelpers import write_rows
from hypothesis import example, given
from hypothesis import strategies as st

from qatool.errors import InputError, UsageError
from qatool.files.examples.corpus import open_corpus
from qatool.files.output.targets import parse_target
from qatool.files.sources.paths import resolve
from qatool.files.storage.atomic import move, replacing, whole_file, write_bytes
from qatool.files.storage.locations import contents, location, on_disk
from qatool.files.storage.objects import ObjectPath
from qatool.files.storage.patterns import key_pattern
from qatool.places import lies_in, same_place
from qatool.redaction import redacted

SECRETS = (
    "s3://AKIAKEY:sECrET@bucket/a.parquet",
    "https://host/a.jsonl?X-Amz-Signature=sECrET&X-Amz-Credential=AKIAKEY",
    "https://user:sECrET@host/AKIA.jsonl",
    "abfs://c@x/a?sv=2024&sig=sECrET",
    "text with s3://AKIAKEY:sECrET@bucket/a and more",
    "AWS_SECRET_ACCESS_KEY=sECrET",
    "https://host/f.jsonl?fields=a,b&token=sECrET",
    "https://host/f.jsonl?a=[1];b=(2)&token=sECrET",
    "https://host/f.jsonl?a=')b&token=sECrET",
    "url='https://host/a?token=sECrET', url='https://host/b?token=sECrET'",
    "s3://AKIAKEY:sE/sECrET@bucket/x.jsonl",
    "gs://AKIAKEY:1/@/sECrET@bucket/x.jsonl",
    "https://user:pass/sECrET@host/x.jsonl",
    "abfss://user:sECrET@host/x",
)


@pytest.fixture
def memory():
    """A prefix of its own in the store in memory."""
    import fsspec

    fsspec.filesystem("memory").store.clear()
    yield location("memory://lake")
    fsspec.filesystem("memory").store.clear()


@pytest.mark.parametrize("text", SECRETS)
def test_what_grants_access_is_taken_out(text) -> None:
    assert "sECrET" not in redacted(text)
    assert "sECrET" not in str(InputError(f"{text}: broken"))
    assert "sECrET" not in InputError(f"{text}: broken").lines()[0]
    assert redacted(redacted(text)) == redacted(text)


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/part-?.parquet",
        "a=b@c",
        "mail me@home: s3://bucket/x",
        "C:\\x",
        "https://host/path",
        "see https://host/path? yes",
        "s3://bucket/sig=2/access_token=3/y.jsonl",
        "s3://bucket/a:b@c.jsonl",
        "https://host:8080/a@b.jsonl",
        "abfs://container@account.dfs.core.windows.net/x",
    ],
)
def test_what_grants_nothing_stays(text) -> None:
    assert redacted(text) == text


def test_logs_show_no_secret(tmp_path) -> None:
    from qatool.jobs.runfolder.runlog import log_handler
    from qatool.logs import log_event, logging_also_to

    log = tmp_path / "log.jsonl"
    with logging_also_to(log_handler(log, is_over=lambda: False)):
        log_event("reading", file=SECRETS[0], traceback=f"OSError: {SECRETS[1]}", level=logging.WARNING)
    assert "reading" in log.read_text()
    assert "sECrET" not in log.read_text()


def test_a_uri_with_credentials_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^s3://\*\*\*@bucket/a: holds credentials, which are taken from"):
        location("s3://key:secret@bucket/a")
    with pytest.raises(UsageError, match="names no bucket"):
        location("s3://")
    with pytest.raises(UsageError, match="-o s3://bucket: names a bucket, not what to put into it"):
        parse_target("s3://bucket")
    with pytest.raises(UsageError, match=r"-o https://host/a\.parquet\?\*\*\*: a web address can only be read"):
        parse_target("https://host/a.parquet?X-Amz-Signature=1")
    with pytest.raises(UsageError, match="-o s3://bucket/x: is written to a disk only"):
        on_disk("s3://bucket/x", flag="-o")


def test_what_follows_an_address_in_a_sentence_stays() -> None:
    assert redacted("(https://host/a?sig=1): no such object") == "(https://host/a?***): no such object"
    assert redacted("'https://host/a?b=1', 'c'") == "'https://host/a?***', 'c'"
    assert redacted(r'{"a": "\"https://host/a?b=1\""}') == r'{"a": "\"https://host/a?***\""}'


def test_redacting_takes_linear_time() -> None:
    for piece in ("https://", "a://b:", "s3://a:", "x-", "https://h?a:"):
        redacted(piece * 5_000 + "=")


@pytest.mark.parametrize(
    "uri", ["s3://AKIAKEY:sec/ret@bucket/x.jsonl", "abfs://user:secret@host/x", "gs://a:b/c@d/e"]
)
def test_credentials_with_slashes_are_refused(uri) -> None:
    with pytest.raises(UsageError, match=r"://\*\*\*@[a-z]*/.*: holds credentials") as told:
        location(uri)
    assert "ret" not in str(told.value).partition(": holds")[0]


def test_a_uri_of_azure_may_name_the_account(monkeypatch) -> None:
    import fsspec

    opened = []
    monkeypatch.setattr(fsspec, "filesystem", lambda *given, **options: opened.append((given, options)))
    path = location("abfs://box@own.dfs.core.windows.net/a/x.jsonl")
    assert path.key == "box/a/x.jsonl"
    assert str(path.with_name("y")) == "abfs://box@own.dfs.core.windows.net/a/y"
    assert path != location("abfs://box/a/x.jsonl")
    assert path._store is None
    assert opened == [(("abfs",), {"use_listings_cache": False, "account_name": "own"})]


def test_large_objects_go_to_the_account_that_is_named(monkeypatch) -> None:
    import fsspec

    opened = []
    memory = fsspec.filesystem("memory")

    def file_system(*_given: str, **options: Any) -> Any:
        opened.append(options.get("account_name"))
        return memory

    monkeypatch.setattr(fsspec, "filesystem", file_system)
    monkeypatch.setattr("qatool.files.storage.uploads.PIECE_BYTES", 8)
    made = whole_file(location("abfs://box@other.dfs.core.windows.net/a/x.bin"))
    made.stream.write(b"0123456789")
    made.commit()
    assert set(opened) == {"other"}
    assert memory.cat_file("/box/a/x.bin") == b"0123456789"


@pytest.mark.parametrize("protocol", ["webhdfs", "github"])
def test_a_protocol_that_needs_a_host_is_refused(protocol) -> None:
    with pytest.raises(UsageError, match=f"{protocol}://: is not taken: it needs a host or more beside a path"):
        location(f"{protocol}://x/a.jsonl").exists()


@pytest.mark.parametrize("folder", ["a//b", "/a"])
def test_keys_stay_as_typed(memory, folder) -> None:
    path = location(f"memory://lake/{folder}/x.jsonl")
    assert path.key == f"/lake/{folder}/x.jsonl"
    path.write_bytes(b"{}\n")
    assert [source.path for source in resolve(["memory://lake"])] == [path]
    assert [source.path for source in resolve(["memory://lake/**"])] == [path]
    assert [source.path for source in resolve([f"memory://lake/{folder}/*.jsonl"])] == [path]
    assert str(path.with_name("y")) == str(path.parent / "y") == f"memory://lake/{folder}/y"
    assert path.relative_to(path.parent).as_posix() == path.name
    assert path.relative_to(memory).parts == tuple(filter(None, f"{folder}/x.jsonl".split("/")))
    assert not same_place(str(path), "memory://lake/a/b/x.jsonl")
    assert not same_place(str(path), "memory://lake/a/x.jsonl")
    assert lies_in(str(path), "memory://lake")
    assert location("memory://lake/a/./x").key == "/lake/a/./x"
    assert not same_place("memory://lake/a/./x", "memory://lake/a/x")
    with pytest.raises(ValueError, match="does not lie under"):
        path.relative_to(location("memory://lak"))


def test_no_such_protocol() -> None:
    with pytest.raises(UsageError, match="nope://: no such protocol; write s3://, gs://, or a path"):
        resolve(["nope://bucket/a.jsonl"])


@pytest.mark.parametrize("uri", ["file:///tmp/a.jsonl", "local:///tmp/a.jsonl"])
def test_a_uri_of_a_disk_is_a_path(uri) -> None:
    assert str(location(uri)) == "/tmp/a.jsonl"


def test_names() -> None:
    path = location("s3://bucket/folder/answers.jsonl.gz")
    assert isinstance(path, ObjectPath)
    assert (path.name, path.suffix, path.stem) == ("answers.jsonl.gz", ".gz", "answers.jsonl")
    assert str(path.parent) == "s3://bucket/folder"
    assert [str(parent) for parent in path.parents] == ["s3://bucket/folder", "s3://bucket"]
    assert str(path.with_name("x") / "y") == "s3://bucket/folder/x/y"
    assert path.key == "bucket/folder/answers.jsonl.gz"
    assert location("s3://bucket").name == ""
    assert path == location("s3://bucket/folder/answers.jsonl.gz/")
    assert len({path, location(str(path))}) == 1


def test_a_signed_address_is_asked_for_whole_and_shown_without() -> None:
    path = location("https://host/data/a.jsonl?X-Amz-Signature=1f")
    assert path.key == "https://host/data/a.jsonl?X-Amz-Signature=1f"
    assert (str(path), path.name, path.suffix) == ("https://host/data/a.jsonl?***", "a.jsonl", ".jsonl")
    assert "1f" not in repr(path)


def test_reading_and_writing(memory) -> None:
    path = memory / "folder" / "a.txt"
    assert not path.exists()
    with replacing(path) as stream:
        stream.write(b"one\n")
        stream.write(b"two\n")
        assert not path.exists()
    assert path.read_bytes() == b"one\ntwo\n"
    with path.open() as stream:
        assert list(stream) == [b"one\n", b"two\n"]
    with pytest.raises(ZeroDivisionError), replacing(path) as stream:
        stream.write(bytes(1 // len(b"")))
    assert path.read_bytes() == b"one\ntwo\n"
    assert (path.is_file(), path.is_dir(), path.parent.is_dir(), path.stat().st_size) == (True, False, True, 8)
    assert path.create(b"other") is False
    move(path, memory / "b.txt")
    assert [str(found) for found, _ in memory.walk()] == ["memory://lake/b.txt"]
    assert list(contents([memory / "b.txt", path])) == [b"one\ntwo\n", None]


@pytest.mark.parametrize("name", ["a[1]", "a*", "a?"])
def test_names_with_brackets_and_stars_are_names(memory, name) -> None:
    others = [memory / "a1" / "x", memory / "ab" / "x"]
    own = [memory / name / "parts" / "x", memory / name / "parts" / "[x]", memory / name / "y"]
    for path in [*others, *own]:
        path.write_bytes(path.name.encode())
    assert list(contents([*own, memory / name / "none"])) == [b"x", b"[x]", b"y", None]
    (memory / name / "parts").remove_all()
    assert [path for path, _ in memory.walk()] == sorted([*others, own[-1]])
    (memory / name).remove_all()
    assert [path for path, _ in memory.walk()] == others


def test_a_prefix_that_is_there_is_no_pattern(memory) -> None:
    for below in ("a[1]/x.jsonl", "a1/y.jsonl"):
        (memory / below).write_bytes(b"{}\n")
    assert [source.name for source in resolve(["memory://lake/a[1]"])] == ["x.jsonl"]


def test_what_confirms_keeps_an_object_from_its_name(memory) -> None:
    def refuse() -> None:
        raise InputError("no")

    with pytest.raises(InputError):
        write_bytes(memory / "a", b"x", confirm=refuse)
    assert not (memory / "a").exists()


def test_inputs_are_found_as_on_a_disk(memory, tmp_path, monkeypatch) -> None:
    names = ("a.jsonl", "b/c.jsonl", "b/_hidden.jsonl", ".git/d.jsonl", "b/e.xyz", "out.parquet.qatool/stdin.jsonl")
    for name in names:
        (memory / name).write_bytes(b"{}\n")
        (tmp_path / "lake" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "lake" / name).write_bytes(b"{}\n")
    monkeypatch.chdir(tmp_path)
    folders = ("", "/b", "/b/c.jsonl", "/?/[a-c].jsonl", "/[!b]*.jsonl", "/out.parquet.qatool/*.jsonl")
    for below in (*folders, "/*.jsonl", "/*/*.jsonl", "/**", "/**/*.jsonl"):
        here, there = resolve([f"lake{below}"]), resolve([f"memory://lake{below}"])
        assert [source.name for source in there] == [source.name for source in here], below
    with pytest.raises(InputError, match="memory://lake/none: no such object, and nothing under it; check the URI"):
        resolve(["memory://lake/none"])


@example("[b-a]", "a")
@example("[!b-a]", "a")
@example("[b-aa]", "a")
@given(st.text("ab*?[]!.^-", max_size=6), st.text("ab.^-", min_size=1, max_size=4))
def test_patterns_of_names_mean_what_they_mean_on_a_disk(pattern, name) -> None:
    import fnmatch

    hidden = name.startswith(".") and not pattern.startswith(".")
    expected = not hidden and fnmatch.fnmatchcase(name, pattern)
    assert bool(key_pattern(f"x/{pattern}").fullmatch(f"x/{name}")) == expected or "**" in pattern


ROWS = [{"question": "Who?", "context": "Ada."}, {"question": "When?", "context": "1843."}]


def partitioned(folder) -> None:
    for number, below in enumerate(
        ("year=2023/lang=en", "year=2024/lang=de", "year=2024/lang=__HIVE_DEFAULT_PARTITION__")
    ):
        (folder / below).mkdir(parents=True)
        write_rows(folder / below / f"part-{number}.parquet", ROWS)


def test_partitions_are_columns(tmp_path) -> None:
    partitioned(tmp_path / "data")
    for named in (str(tmp_path / "data"), str(tmp_path / "data" / "*" / "*" / "*.parquet")):
        corpus = open_corpus(resolve([named]), keep=("year", "language"), column=("language=lang",))
        assert corpus.kept_fields() == {"year": pa.int64(), "language": pa.string()}
        kept = [dict(example.kept) for example in corpus.examples()]
        assert kept[::2] == [
            {"year": 2023, "language": "en"},
            {"year": 2024, "language": None},
            {"year": 2024, "language": "de"},
        ]


def test_partitions_that_are_no_integers_are_text(tmp_path) -> None:
    for month in ("01", "12", "a%2Fb"):
        (tmp_path / f"month={month}").mkdir()
        write_rows(tmp_path / f"month={month}" / "a.jsonl", ROWS[:1])
    corpus = open_corpus(resolve([str(tmp_path)]), keep=("month",))
    assert [example.kept["month"] for example in corpus.examples()] == ["01", "12", "a/b"]


def test_a_column_of_the_file_comes_first(tmp_path) -> None:
    (tmp_path / "year=1").mkdir()
    write_rows(tmp_path / "year=1" / "a.parquet", [{**ROWS[0], "year": "of the file"}])
    corpus = open_corpus(resolve([str(tmp_path)]), keep=("year",))
    assert corpus.kept_fields() == {"year": pa.string()}
    assert [example.kept["year"] for example in corpus.examples()] == ["of the file"]


def test_a_missing_column_lists_those_of_the_folders(tmp_path) -> None:
    (tmp_path / "year=1").mkdir()
    write_rows(tmp_path / "year=1" / "a.parquet", ROWS)
    with pytest.raises(InputError, match=re.escape("no column 'month'; there are 'question', 'context', 'year'")):
        open_corpus(resolve([str(tmp_path)]), keep=("month",))


@pytest.mark.parametrize("count", [2_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_very_many_files(tmp_path, count) -> None:
    """Planning takes a fraction of a millisecond and a few kilobytes a file."""
    import gc
    import time
    import tracemalloc

    for number in range(count):
        if number % 30_000 == 0:  # a file system gives one file only so many names
            first = write_rows(tmp_path / f"first-{number}.parquet", ROWS)
        folder = tmp_path / "data" / f"day={number % 100}"
        if number < 100:
            folder.mkdir(parents=True)
        os.link(first, folder / f"part-{number:06d}.parquet")
    open_corpus(
        resolve([str(tmp_path / "data" / "day=0")]), keep=("day",)
    ).total()  # what is imported once is no file's
    gc.collect()
    tracemalloc.start()
    began = time.process_time()
    corpus = open_corpus(resolve([str(tmp_path / "data")]), keep=("day",))
    total = corpus.total()
    seconds = time.process_time() - began
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"{count:,} files: {1e3 * seconds / count:.3f} ms and {held / count:,.0f} bytes a file (traced)")
    assert total == 2 * count
    assert held / count < 4_000
    assert seconds / count < 0.02


def test_a_run_in_memory_gives_the_bytes_of_a_disk(memory, tmp_path, tiny_model) -> None:
    from qatool.commands.extract import run
    from qatool.options import ExtractOptions

    data = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    (memory / "in.jsonl").write_bytes(data)
    (tmp_path / "in.jsonl").write_bytes(data)
    options = {"model": str(tiny_model), "backend": "constant", "progress": "none"}
    run(ExtractOptions(inputs=(str(tmp_path / "in.jsonl"),), output=str(tmp_path / "out.parquet"), **options))
    run(ExtractOptions(inputs=("memory://lake/in.jsonl",), output="memory://lake/out.parquet", **options))
    assert (memory / "out.parquet").read_bytes() == (tmp_path / "out.parquet").read_bytes()
    assert [path.name for path, _ in memory.walk()] == ["in.jsonl", "out.parquet", "out.parquet.summary.json"]
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 2


ANSWER = b'{"answer": null, "candidates": [], "fingerprint": "0", "no_answer_score": 1.0, "n_windows": 0}\n'


@pytest.mark.parametrize("folder", ["sig", "signature", "access_token"])
def test_folders_named_like_secrets_are_read(memory, folder) -> None:
    from qatool.files.output.own import without_own

    names = ["plain.jsonl", f"{folder}=1/b.jsonl", f"{folder}=2/y.jsonl", f"{folder}=3/z.jsonl"]
    for name in names:
        (memory / name).write_bytes(b"{}\n")
    # What qatool did not write does not give way.
    with pytest.raises(UsageError, match=r"b\.jsonl: is one of the inputs"):
        without_own(resolve(["memory://lake"]), [], written=[f"memory://lake/{names[1]}"], log_file=None)
    (memory / names[1]).write_bytes(ANSWER)
    found = resolve(["memory://lake"])
    kept = without_own(found, ["memory://lake"], written=[f"memory://lake/{names[1]}"], log_file=None)
    assert {source.name for source in kept} == {*names} - {names[1]}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("s3://b/x", "s3a://b/x", True),
        ("s3:///b/x", "s3://b/x", True),
        ("gs://b/x", "gcs://b/x", True),
        ("s3://b/x", "gs://b/x", False),
        ("s3://b/x", "s3://b/y", False),
    ],
)
def test_places_in_stores(one, other, same) -> None:
    assert same_place(one, other) is same
    assert lies_in(f"{one}/part", other) is same
