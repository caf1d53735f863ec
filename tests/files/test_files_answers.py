from __future__ import annotations

import gzip
import io
import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from filehelpers import write

from qatool.errors import OutputError, UsageError
from qatool.files.output.answers import open_writer
from qatool.files.output.partfolder import _part_name
from qatool.files.output.targets import Target, check_target, parse_target
from qatool.schema import answers_schema

SCHEMA = answers_schema(documents=False, snippet=False)
METADATA = {b"qatool": b'{"version": "1"}'}
CANDIDATE = {"answer": "é", "answer_start": 0, "answer_end": 1, "score": 0.1, "span_logit": float("nan")}


def answers(start, count):
    rows = [
        {
            "id": str(start + number),
            "question": 'q"\u2028\x00?',
            "answer": None,
            "score": 0.1,
            "no_answer_score": 1 / 3,
            "window": 0,
            "candidates": [CANDIDATE] * number if number else None,
            "fingerprint": bytes(16),
        }
        for number in range(count)
    ]
    return pa.Table.from_pylist(rows, SCHEMA)


def save(path, *tables, **options):
    with open_writer(parse_target(str(path)), SCHEMA, lambda: METADATA, **options) as writer:
        for table in tables:
            writer.write(table)


def test_each_of_many_small_tables_costs_the_same(tmp_path):
    row, began = answers(0, 1), time.process_time()
    save(tmp_path / "a.parquet", *[row] * 2_000)
    # When every write looked at all tables before it, this took a minute.
    assert time.process_time() - began < 10
    assert pq.ParquetFile(tmp_path / "a.parquet").metadata.num_rows == 2_000


def test_parquet_collects_tables_into_row_groups(tmp_path, monkeypatch):
    path = tmp_path / "a.parquet"
    monkeypatch.setattr("qatool.files.output.answers.GROUP_ROWS", 4)
    save(path, answers(0, 3), answers(3, 2), answers(5, 1))
    file = pq.ParquetFile(path)
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [5, 1]
    monkeypatch.setattr("qatool.files.output.answers.GROUP_BYTES", 1)
    save(path, answers(0, 3), answers(3, 2))
    file = pq.ParquetFile(path)
    assert file.num_row_groups == 2
    # As text, for NaN equals nothing.
    assert str(file.read().to_pylist()) == str([*answers(0, 3).to_pylist(), *answers(3, 2).to_pylist()])
    assert file.schema_arrow.equals(SCHEMA)
    assert file.metadata.metadata[b"qatool"] == METADATA[b"qatool"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.parquet"]


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.jsonl.gz", "a.ndjson.zst"])
def test_same_answers_same_bytes(tmp_path, name, monkeypatch):
    save(tmp_path / name, answers(0, 3), answers(3, 0))
    first = (tmp_path / name).read_bytes()
    monkeypatch.setattr("time.time", lambda: 1e9)
    save(tmp_path / name, answers(0, 3), answers(3, 0), staging=tmp_path / "other")
    assert (tmp_path / name).read_bytes() == first


def test_metadata_are_those_of_a_file_that_was_begun_with_them(tmp_path):
    counts = {"rows": b"0"}

    def about():
        return {b"qatool": counts["rows"], b"other": b"x"}

    with open_writer(parse_target(str(tmp_path / "a.parquet")), SCHEMA, about) as writer:
        writer.write(answers(0, 3))
        counts["rows"] = b"3"
    begun_with = pq.ParquetWriter(tmp_path / "b.parquet", SCHEMA.with_metadata(about()))
    begun_with.write_table(answers(0, 3))
    begun_with.close()
    assert pq.read_schema(tmp_path / "a.parquet").metadata == {b"qatool": b"3", b"other": b"x"}
    assert pq.read_metadata(tmp_path / "a.parquet").metadata == pq.read_metadata(tmp_path / "b.parquet").metadata
    read, expected = (pq.read_table(tmp_path / name, columns=["id", "score"]) for name in ("a.parquet", "b.parquet"))
    assert read.equals(expected, check_metadata=True)


def test_jsonl_exactly(tmp_path):
    save(tmp_path / "a.jsonl", answers(0, 2).slice(1))
    assert (tmp_path / "a.jsonl").read_text(encoding="utf-8") == (
        '{"id": "1", "question": "q\\"\u2028\\u0000?", "answer": null, "answer_start": null, "answer_end": null, '
        '"score": 0.1, "no_answer_score": 0.33333334, "window": 0, "n_windows": null, "n_windows_read": null, '
        '"candidates": [{"answer": "é", "answer_start": 0, "answer_end": 1, "score": 0.1, "span_logit": null, '
        '"null_logit": null, "window": null}], "fingerprint": "00000000000000000000000000000000", "error": null}\n'
    )


def test_packed_jsonl(tmp_path):
    for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst"):
        save(tmp_path / name, answers(0, 3), answers(3, 3))
    plain = (tmp_path / "a.jsonl").read_bytes()
    assert len(plain.splitlines()) == 6
    assert gzip.decompress((tmp_path / "a.jsonl.gz").read_bytes()) == plain
    with (tmp_path / "a.jsonl.zst").open("rb") as stream:
        assert zstandard.ZstdDecompressor().stream_reader(stream).read() == plain


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "folder"])
def test_exception_leaves_what_was_there(tmp_path, name):
    save(tmp_path / name, answers(0, 1))
    listed = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="table of another schema"):
        save(tmp_path / name, answers(0, 3), pa.table({"x": [1]}))
    assert sorted(path.name for path in tmp_path.rglob("*")) == listed


def test_another_schema_is_refused(tmp_path):
    with pytest.raises(ValueError, match="table of another schema"):
        save(tmp_path / "a.jsonl", pa.table({"x": [1]}))
    assert list(tmp_path.iterdir()) == []


def test_folder_collects_tables_into_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("qatool.files.output.answers.GROUP_ROWS", 4)
    save(tmp_path / "out", *(answers(row, 1) for row in range(10)))
    parts = sorted((tmp_path / "out").glob("*.parquet"))
    assert [pq.read_table(part)["id"].to_pylist() for part in parts] == [list("0123"), list("4567"), list("89")]
    assert [pq.read_metadata(part).num_row_groups for part in parts] == [1, 1, 1]


def test_names_of_parts_sort_in_their_order():
    some = [0, 1, 9, 10, 89_999, 90_000, 90_001, 99_999, 100_000, 1_000_000, 5_000_000]
    names = [_part_name(part) for part in some]
    assert names[:2] == ["part-00000.parquet", "part-00001.parquet"]
    assert names == sorted(names)
    assert len(set(names)) == len(names)


def test_folder_appears_sealed_and_replaces_its_like(tmp_path, monkeypatch):
    folder = tmp_path / "out"
    monkeypatch.setattr("qatool.files.output.answers.GROUP_ROWS", 1)
    save(folder, answers(0, 2), answers(2, 2), answers(4, 2))
    save(folder, answers(0, 3), answers(3, 1))
    assert sorted(entry.name for entry in folder.iterdir()) == [
        "_SUCCESS",
        "part-00000.parquet",
        "part-00001.parquet",
    ]
    assert json.loads((folder / "_SUCCESS").read_text()) == {"qatool": {"version": "1"}}
    assert pq.read_table(folder).num_rows == 4
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_foreign_folders_are_refused(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    check_target(parse_target(str(folder)))
    write(folder / "_SUCCESS", "")
    start = f"{folder}: is not empty and "
    end = "; empty it or choose another folder"
    assert refusal(folder) == f"{start}was not made by qatool{end}"
    write(folder / "_SUCCESS", '{"qatool": {}}')
    check_target(parse_target(str(folder)))
    write(folder / "my.txt", "")
    assert refusal(folder) == f"{start}holds 'my.txt', which qatool did not write{end}"
    with pytest.raises(OutputError):
        save(folder, answers(0, 1))
    assert (folder / "my.txt").exists()


@pytest.mark.parametrize(
    ("holds", "file", "noun"),
    [
        ("model", "qatool.json", "a model"),
        ("features", "manifest.json", "features"),
        ("answers", "_SUCCESS", "answers"),
    ],
)
def test_a_folder_of_another_kind_is_not_replaced(tmp_path, holds, file, noun):
    folder = tmp_path / "out"
    folder.mkdir()
    write(folder / file, '{"qatool": "1"}')
    for kind in ("answers", "features", "model"):
        target = Target(kind="folder", path=folder, holds=kind)
        if kind == holds:
            check_target(target)
            continue
        with pytest.raises(OutputError, match=rf"is not empty and holds {noun}, which this command does not write"):
            check_target(target)
    assert (folder / file).exists()


@pytest.mark.parametrize("output", [".", "..", "/", "a/.."])
def test_an_output_without_a_name_is_refused(tmp_path, monkeypatch, output):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="what stands beside an output has its name"):
        check_target(parse_target(output))


def test_a_link_to_a_folder_gives_way(tmp_path):
    real, link = tmp_path / "real", tmp_path / "out"
    save(real, answers(0, 1))
    link.symlink_to(real)
    save(link, answers(0, 2))
    assert pq.read_table(link).num_rows == 2
    assert pq.read_table(real).num_rows == 1
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out", "real"]


def test_a_mount_point_is_refused_beforehand(tmp_path, monkeypatch):
    folder = tmp_path / "out"
    folder.mkdir()
    check_target(parse_target(f"{folder}/"))
    monkeypatch.setattr(Path, "is_mount", lambda path: path == folder)
    with pytest.raises(OutputError, match="is a mount point, which no folder can take the place of; name one in it"):
        check_target(parse_target(f"{folder}/"))


def refusal(path):
    with pytest.raises(OutputError) as caught:
        check_target(parse_target(str(path)))
    return str(caught.value)


def test_targets_told_from_their_names(tmp_path):
    kinds = ("a.parquet", "a.JSONL", "b.ndjson.gz", "c.jsonl.zst", "d", "e.jsonl/", "-", str(tmp_path))
    found = [(target.kind, target.compression) for target in map(parse_target, kinds)]
    assert found == [
        ("parquet", None),
        ("jsonl", None),
        ("jsonl", "gzip"),
        ("jsonl", "zstd"),
        ("folder", None),
        ("folder", None),
        ("stdout", None),
        ("folder", None),
    ]
    for name in ("a.csv", "a.parquet.gz", "a.gz"):
        with pytest.raises(UsageError) as caught:
            parse_target(name)
        assert str(caught.value) == (
            f"-o {name}: its suffix says no format that can be written; supported are .parquet, .jsonl or "
            ".ndjson (also with .gz or .zst behind), a folder, or - for standard output "
            "(end the name of a folder with /)"
        )


def test_targets_that_cannot_be_written(tmp_path):
    missing = tmp_path / "no" / "a.parquet"
    assert refusal(missing) == f"{missing}: the folder {missing.parent} does not exist; create it first"
    folder = tmp_path / "b.parquet"
    folder.mkdir()
    assert refusal(folder).startswith(f"{folder}: is a folder; ")
    plain = write(tmp_path / "plain", "")
    assert refusal(plain) == f"{plain}: is a file, not a folder; remove it or choose another name"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    path = tmp_path / "a.parquet"
    assert refusal(path) == f"{path}: the folder {tmp_path} cannot be written to; change its permissions"


def test_standard_output(monkeypatch):
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=buffer))
    with open_writer(parse_target("-"), SCHEMA, lambda: METADATA) as writer:
        writer.write(answers(0, 2))
        assert [json.loads(line)["id"] for line in buffer.getvalue().splitlines()] == ["0", "1"]


def test_reader_of_standard_output_has_gone(monkeypatch):
    read, write_end = os.pipe()
    os.close(read)
    with os.fdopen(write_end, "wb", buffering=0) as stream:
        monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=stream))
        with pytest.raises(OutputError) as caught:
            open_writer(Target(kind="stdout", path=parse_target("-").path), SCHEMA, dict).write(answers(0, 2))
    assert str(caught.value) == (
        "standard output: cannot be written: the reader has gone; nothing more can be written"
    )
