"""Disks, folders, rows and models that fail."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
from jobs_tools import flip_byte, rows, write_rows

from qatool.commands.extract import run as run_extract
from qatool.errors import OutputError, QatoolError
from qatool.files.storage.atomic import temporary_name
from qatool.jobs.runfolder.parts import Parts
from qatool.observers import SilentObserver
from qatool.options import ExtractOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qatool.jobs.work import Unit


def test_a_full_disk(runner, whole) -> None:
    process = runner.run("in.jsonl", patch="jobs_patches:full_disk")
    assert process.wait() == 9
    assert process.error == (
        "Error: answers.parquet.qatool/done/part-00002.json: cannot be written: the disk is full; free some space "
        "and start the same command again\n"
    )
    assert not list(runner.folder.rglob(".*.tmp"))
    runner.done("in.jsonl")
    assert runner.output.read_bytes() == whole
    assert runner.summary()["resumed_shards"] == 2


def test_a_file_size_limit(runner, whole) -> None:
    process = runner.run("in.jsonl", file_size=12_000)
    assert process.wait() == 9
    assert process.error == (
        "Error: answers.parquet: cannot be written: the file grew beyond what the file system or ulimit allows; "
        "write elsewhere\n"
    )
    runner.done("in.jsonl")
    assert runner.output.read_bytes() == whole
    assert runner.summary()["resumed_shards"] == 10


@pytest.mark.parametrize(
    ("failure", "expected", "words"),
    [
        (MemoryError("8 GiB"), 4, "out of memory (8 GiB)"),
        (OSError(errno.ENOSPC, "No space left on device", "scratch"), 9, "scratch: cannot be written"),
    ],
)
def test_a_failure_of_a_library_is_in_the_summary(tmp_path, monkeypatch, failure, expected, words) -> None:
    write_rows(tmp_path / "in.jsonl", [{"id": "bad", "question": None, "context": "A text."}, *rows(4)])

    def fail(*_: object) -> None:
        raise failure

    options = ExtractOptions(
        inputs=(str(tmp_path / "in.jsonl"),),
        output=str(tmp_path / "out.parquet"),
        backend="constant",
        on_error="skip",
        shard_rows=2,
        summary=str(tmp_path / "how.json"),
    )
    monkeypatch.setattr("qatool.extraction.runs.summary.SpeedLog.add", fail)
    with pytest.raises(QatoolError):
        run_extract(options)
    told = json.loads((tmp_path / "how.json").read_text())
    assert (told["exit_code"], told["examples"]) == (expected, 2)
    assert words in told["stopped"]
    assert "bad" in (tmp_path / "out.parquet.qatool" / "rejects.jsonl").read_text()
    events = [json.loads(line) for line in (tmp_path / "out.parquet.qatool" / "log.jsonl").read_text().splitlines()]
    assert [type(failure).__name__ in event.get("traceback", "") for event in events].count(True) == 1


def test_what_is_not_kept_is_not_counted_at_the_end(tmp_path, monkeypatch) -> None:
    """The display ends with the examples of the parts that are there, as status tells them."""
    write_rows(tmp_path / "in.jsonl", rows(6))

    class Counting(SilentObserver):
        examples = 0

        def advanced(self, examples: int, windows: int) -> None:
            self.examples += examples

    def fail(_self: object, unit: Unit, part: object) -> None:
        if unit.index == 1:
            raise OutputError("the disk is full")
        commit(_self, unit, part)

    commit = Parts.commit
    monkeypatch.setattr(Parts, "commit", fail)
    options = ExtractOptions(
        inputs=(str(tmp_path / "in.jsonl"),), output=str(tmp_path / "out.parquet"), backend="constant", shard_rows=2
    )
    observer = Counting()
    with pytest.raises(OutputError):
        run_extract(options, observer=observer)
    assert observer.examples == 2


@pytest.mark.slow
def test_a_small_tmpfs(runner, whole, tmp_path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "none", disk]).returncode:
        pytest.skip("needs the right to mount")
    try:
        output = disk / "answers.parquet"
        process = runner.run("in.jsonl", output=output)
        assert process.wait() == 9
        assert "the disk is full; free some space and start the same command again" in process.error
        subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)
        runner.done("in.jsonl", output=output)
        assert output.read_bytes() == whole
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        process = runner.run("in.jsonl", output=output)
        assert process.wait() == 9
        assert "cannot be written" in process.error
        assert output.read_bytes() == whole
    finally:
        subprocess.run(["umount", disk])


def test_an_output_that_cannot_be_written(runner) -> None:
    process = runner.run("in.jsonl", output="missing/answers.parquet")
    assert process.wait() == 9
    assert process.error == ("Error: missing/answers.parquet: the folder missing does not exist; create it first\n")


@pytest.mark.parametrize("what", ["", "parts", "done"])
def test_a_run_folder_removed_midway(runner, whole, what) -> None:
    process = runner.held("in.jsonl", shards=2)
    shutil.rmtree(runner.run_folder / what)
    assert process.go_on() == 9
    if not what:
        assert process.error == (
            "Error: answers.parquet.qatool: the run folder was removed while the run was under way; "
            "start the same command again\n"
        )
    runner.done("in.jsonl")
    assert runner.output.read_bytes() == whole


def test_a_part_damaged_under_way_does_not_get_into_the_output(runner, whole) -> None:
    process = runner.held("in.jsonl", shards=2)
    flip_byte(runner.run_folder / "parts" / "part-00000.parquet")
    assert process.go_on() == 9
    assert process.error.startswith("Error: answers.parquet.qatool/parts/part-00000.parquet: was damaged while")
    assert process.error.endswith("start the same command again: it is computed anew\n")
    runner.done("in.jsonl")
    assert runner.output.read_bytes() == whole


def test_bad_rows_name_file_and_row(runner) -> None:
    lines = [json.dumps(row) for row in rows(100)]
    lines[50] = json.dumps({"question": "q?", "context": 7})
    (runner.folder / "in.jsonl").write_text("\n".join(lines))
    process = runner.run("in.jsonl")
    assert process.wait() == 3
    assert process.error.startswith("Error: in.jsonl:51: ")
    assert "add --on-error skip to set such rows aside" in process.error
    assert runner.markers() == 2
    assert runner.code("in.jsonl", "--on-error", "skip", "--max-errors", "1") == 5


def test_too_many_bad_rows(runner) -> None:
    lines = [json.dumps(row) for row in rows(100)]
    lines[10:14] = ["{"] * 4
    (runner.folder / "in.jsonl").write_text("\n".join(lines))
    process = runner.run("in.jsonl", "--on-error", "skip", "--max-errors", "3")
    assert process.wait() == 3
    assert process.error == (
        "Error: 4 rows are bad, more than --max-errors 3; see answers.parquet.qatool/rejects.jsonl, mend them "
        "or raise --max-errors\n"
    )
    assert len((runner.run_folder / "rejects.jsonl").read_text().splitlines()) == 4
    assert runner.code("in.jsonl", "--on-error", "skip") == 5


@pytest.mark.parametrize("fault", ["NAN", "OOM"])
def test_a_row_that_fails_in_the_model_does_not_sink_its_batch(runner, tiny_model, fault) -> None:
    from tokenizers import Tokenizer

    examples = rows(60)
    examples[33]["context"] += " zebra?"
    examples[34]["context"] += " zebra"
    write_rows(runner.folder / "in.jsonl", examples)
    tokenizer = Tokenizer.from_file(str(tiny_model / "tokenizer.json"))
    common = set(tokenizer.encode(" ".join(row["question"] + row["context"] for row in rows(60))).ids)
    (rare, *_) = [i for i in tokenizer.encode("zebra").ids if i not in common]
    setting = {"patch": "jobs_patches:failing_model", "environment": {fault: str(rare)}}
    process = runner.run("in.jsonl", **setting)
    assert process.wait() == 3
    assert process.error.startswith("Error: in.jsonl:34: the model cannot read it")
    assert runner.code("in.jsonl", "--on-error", "skip", **setting) == 5
    table = pq.read_table(runner.output)
    assert [i for i, error in enumerate(table["error"].to_pylist()) if error] == [33, 34]
    assert runner.summary()["answered"] == 58


@pytest.mark.parametrize("size", [500_000, pytest.param(10_000_000, marks=pytest.mark.slow)])
def test_hostile_text(runner, size) -> None:
    escape = "\x1b]0;owned\x07\x1b[2J[bold]markup[/bold]\r\n\u202e"
    examples = [
        {"id": f"a{escape}", "question": f"What {escape}?", "context": f"{escape} some text {escape}"},
        {"id": "long line", "question": "Where?", "context": "x" * size},
        {"id": "many words", "question": "Where?", "context": "glacier " * (size // 500)},
        *rows(3),
    ]
    write_rows(runner.folder / "in.jsonl", examples)
    with (runner.folder / "in.jsonl").open("a") as stream:
        stream.write('{"id": "s", "question": "lone \\ud800", "context": "c"}\n')
        stream.write('{"id": "\\udfff\\u001b[2J", "question": "q", "context": null}\n')
    process = runner.run("in.jsonl", "--on-error", "skip", "--log-format", "json", "-v", "--keep-run")
    assert process.wait() == 5
    log = (runner.run_folder / "log.jsonl").read_text()
    rejects = (runner.folder / "answers.parquet.rejects.jsonl").read_text()
    write_rows(runner.folder / "bad.jsonl", [{**examples[0], "context": None}])
    for text in (process.err, log, rejects, runner.run("bad.jsonl", output="o.parquet").err):
        assert not set(text) & {chr(code) for code in [*range(10), *range(11, 32), 0x7F, 0x9B, 0x202E]}
    assert [json.loads(line)["reason"] for line in rejects.splitlines()]
    table = pq.read_table(runner.output)
    assert table["id"][0].as_py() == f"a{escape}"
    assert table["question"][0].as_py() == f"What {escape}?"
    assert table.num_rows == 8


def test_standard_error_in_json_is_nothing_else(runner) -> None:
    write_rows(runner.folder / "in.jsonl", rows(4))
    process = runner.run("in.jsonl", "--log-format", "json", "--progress", "plain")
    assert process.wait() == 0
    told = [json.loads(line) for line in process.err.splitlines()]
    assert [one["event"] for one in told][-2:] == ["progress", "summary"]
    assert (told[-1]["examples"], told[-1]["output"]) == (4, "answers.parquet")


@pytest.mark.slow
def test_a_million_words(runner) -> None:
    long = {"id": "w", "question": "Who?", "context": "word " * 1_000_000}
    write_rows(runner.folder / "in.jsonl", [*rows(1), long])
    runner.done("in.jsonl")
    assert runner.summary()["windows"] > 10_000


def test_what_the_command_writes_is_not_its_input(runner) -> None:
    inputs = runner.folder / "inputs"
    inputs.mkdir()
    write_rows(inputs / "in.jsonl", rows(40))
    output, log = "inputs/answers.parquet", "inputs/log.jsonl"
    for _ in range(2):
        runner.done("inputs", "--log-file", log, "--keep-run", output=output)
        assert pq.read_table(runner.folder / output)["id"].to_pylist() == [row["id"] for row in rows(40)]
    assert "not read: what this command itself writes files=" in (runner.folder / log).read_text()
    process = runner.run("in.jsonl", output="in.jsonl")
    assert process.wait() == 2
    assert process.error == "Error: INPUT in.jsonl: is also the output (-o); name another output\n"


@pytest.mark.parametrize("option", ["--summary", "--log-file", "-o"])
@pytest.mark.parametrize("named", ["inputs", "inputs/*.jsonl"])
def test_an_input_that_is_named_as_output_is_kept(runner, option, named) -> None:
    """Named by its folder or a glob; that the file is one of the inputs shows only when they are looked up."""
    inputs = runner.folder / "inputs"
    inputs.mkdir()
    for name in ("a", "b"):
        write_rows(inputs / f"{name}.jsonl", rows(4))
    before = (inputs / "a.jsonl").read_bytes()
    options = [] if option == "-o" else [option, "inputs/a.jsonl"]
    output = "inputs/a.jsonl" if option == "-o" else "answers.parquet"
    for more in ([], ["--dry-run"]):
        process = runner.run(named, *options, *more, output=output)
        assert process.wait() == 2
        assert "inputs/a.jsonl: is one of the inputs" in process.error
        assert (inputs / "a.jsonl").read_bytes() == before


@pytest.mark.parametrize("output", ["answers.parquet", "answers.jsonl", "answers.jsonl.gz", "answers.jsonl.zst"])
def test_what_qatool_wrote_among_the_inputs_gives_way(runner, output) -> None:
    inputs = runner.folder / "inputs"
    inputs.mkdir()
    write_rows(inputs / "in.jsonl", [*rows(4), {"id": "bad", "question": None, "context": "x"}])
    told = inputs / "told.json"
    told.touch()
    for _ in range(2):
        process = runner.run(
            "inputs", "--summary", "inputs/told.json", "--on-error", "skip", "--log-file", "inputs/log.jsonl",
            output=f"inputs/{output}",
        )  # fmt: skip
        assert process.wait() == 5
        assert json.loads(told.read_text())["examples"] == 5


@pytest.mark.parametrize("output", ["answers.jsonl.gz", "answers.jsonl.zst", "answers.jsonl", "answers.parquet"])
def test_answers_to_nothing_give_way(runner, output) -> None:
    inputs = runner.folder / "inputs"
    inputs.mkdir()
    (inputs / "in.jsonl").touch()
    (inputs / output).touch()
    for words in ([], [], ["--dry-run", "--summary", "inputs/told.json"], ["--summary", "inputs/told.json"]):
        assert runner.run("inputs", *words, output=f"inputs/{output}").wait() == 0


def test_a_log_that_cannot_be_looked_up(runner) -> None:
    write_rows(runner.folder / "in.jsonl", rows(4))
    process = runner.run("in.jsonl", "--log-file", "x" * 300)
    assert process.wait() == 9
    assert "cannot be written (File name too long)" in process.error


def test_a_folder_that_has_the_name_of_the_run_s_is_kept(runner) -> None:
    write_rows(runner.folder / "in.jsonl", rows(4))
    folder = runner.folder / "answers.parquet.qatool"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "thesis.txt").write_text("mine")
    process = runner.run("in.jsonl")
    assert process.wait() == 9
    assert "holds 'sub', which qatool did not write; move it, or choose another output" in process.error
    assert (folder / "sub" / "thesis.txt").read_text() == "mine"
    (folder / "sub" / "thesis.txt").unlink()
    (folder / "sub").rmdir()
    (folder / ".git").mkdir()
    assert runner.run("in.jsonl").wait() == 9
    (folder / ".git").rmdir()
    runner.done("in.jsonl")
    assert not folder.exists()


def test_a_run_folder_that_leads_to_another_disk(runner) -> None:
    write_rows(runner.folder / "in.jsonl", rows(4))
    elsewhere = runner.folder / "elsewhere"
    elsewhere.mkdir()
    (runner.folder / "answers.parquet.qatool").symlink_to(elsewhere)
    for kept in ([], ["thesis"]):
        for name in kept:
            # Somebody may have put it there while a run held the folder.
            (elsewhere / name).mkdir()
            (elsewhere / "lock").touch()
        runner.done("in.jsonl", "--restart")
        assert [path.name for path in elsewhere.iterdir()] == kept
        names = {path.name for path in runner.folder.iterdir()}
        assert "answers.parquet.qatool" in names
        assert not any(name.endswith(".tmp") for name in names)


@pytest.mark.parametrize("output", ["answers.parquet", "answers.jsonl.gz", "answers/"])
def test_a_run_folder_on_another_disk(runner, another_disk, output) -> None:
    """No rename leads from there to the output: both outputs are the same, and nothing is left on either disk."""
    write_rows(runner.folder / "in.jsonl", [*rows(4), {"id": "bad", "question": None, "context": "A text."}])
    name = output.rstrip("/")
    arguments = ("in.jsonl", "--on-error", "skip")
    assert runner.run(*arguments, output=output).wait() == 5
    expected = _contents(runner.folder / name)
    (runner.folder / f"{name}.qatool").symlink_to(another_disk)
    assert runner.run(*arguments, output=output).wait() == 5
    assert _contents(runner.folder / name) == expected
    assert '"bad"' in (runner.folder / f"{name}.rejects.jsonl").read_text()
    assert not list(another_disk.iterdir())
    assert not list(runner.folder.glob(".*.tmp"))


def test_a_run_folder_that_leads_nowhere(runner, tmp_path) -> None:
    """As after a restart that emptied the disk it was on; a dry run says so, too."""
    write_rows(runner.folder / "in.jsonl", rows(2))
    (runner.folder / "answers.parquet.qatool").symlink_to(tmp_path / "gone")
    for more in ([], ["--dry-run"], ["--restart"]):
        process = runner.run("in.jsonl", *more)
        assert process.wait() == 9
        assert process.error == (
            f"Error: answers.parquet.qatool: is a link to {tmp_path}/gone, which is no folder; make one there, or "
            "remove the link\n"
        )
    (tmp_path / "gone").mkdir()
    runner.done("in.jsonl")


@pytest.mark.parametrize("output", ["answers.parquet", "answers/"])
def test_too_little_room_for_the_copy_from_another_disk(runner, another_disk, output, monkeypatch) -> None:
    options = ExtractOptions(
        inputs=(str(runner.folder / "in.jsonl"),), output=f"{runner.folder}/{output}", backend="constant"
    )
    write_rows(runner.folder / "in.jsonl", rows(4))
    (runner.folder / f"{output.rstrip('/')}.qatool").symlink_to(another_disk)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("qatool.files.storage.atomic.sync_file", full)
        with pytest.raises(OutputError, match="the disk is full"):
            run_extract(options)
    assert not list(runner.folder.glob(".*.tmp"))
    assert not (runner.folder / output).exists()
    run_extract(options)
    assert (runner.folder / output).exists()


def _contents(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else sorted(path.iterdir())
    return {one.name: one.read_bytes() for one in files}


@pytest.fixture
def another_disk(tmp_path) -> Iterator[Path]:
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system at /dev/shm")
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        yield Path(folder)


@pytest.mark.parametrize("suffix", [".summary.json", ".rejects.jsonl"])
def test_a_folder_where_a_file_goes_beside_the_output(runner, suffix) -> None:
    """Told before any work is done."""
    write_rows(runner.folder / "in.jsonl", rows(4))
    (runner.folder / f"answers.parquet{suffix}").mkdir()
    process = runner.run("in.jsonl")
    assert process.wait() == 9
    assert f"answers.parquet{suffix}: is a folder" in process.error
    assert not runner.output.exists()
    assert not runner.run_folder.exists()


@pytest.mark.parametrize("name", ["out", "run[1]", "the answers to the questions about " + "all the documents " * 3])
def test_an_earlier_folder_that_stepped_aside_is_put_back(runner, name) -> None:
    runner.done("in.jsonl", output=f"{name}/")
    before = sorted((runner.folder / name).iterdir())
    aside = temporary_name(runner.folder / name)
    (runner.folder / name).rename(aside)
    assert runner.code("missing.jsonl", output=f"{name}/") == 3
    assert sorted((runner.folder / name).iterdir()) == before
    assert not aside.exists()
