"""What `qatool extract` refuses before any work: files written over what is read, models without words, odd files."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest
from support import FIXTURES

from qatool import cli

if TYPE_CHECKING:
    from pathlib import Path

    Place = tuple[Path, list[str]]


@pytest.fixture
def place(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A folder with a small input, and the words that every call begins with."""
    monkeypatch.chdir(tmp_path)
    row = {"id": "1", "question": "Who?", "context": "Mrs Hollins has the key."}
    (tmp_path / "in.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "a.txt").write_text("Mrs Hollins has the key.")
    (tmp_path / "b.txt").write_text("Nobody has it.")
    (tmp_path / "q.jsonl").write_text('{"id": "q", "question": "Who?"}\n{"id": "q", "question": "What else?"}\n')
    return tmp_path, ["extract", "--backend", "constant", "--model", str(tiny_model), "--progress", "none"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["a.txt", "--questions", "q.jsonl", "-o", "q.jsonl"], "-o q.jsonl: is --questions as well"),
        (["in.jsonl", "-o", "out.jsonl", "--summary", "out.jsonl"], "--summary out.jsonl: is -o as well"),
        (["in.jsonl", "-o", "out.jsonl", "--summary", "./in.jsonl"], "--summary ./in.jsonl: is in.jsonl as well"),
        (["in.jsonl", "-o", "out.jsonl", "--log-file", "in.jsonl"], "--log-file in.jsonl: is in.jsonl as well"),
        (["in.jsonl", "-o", "out.jsonl", "--log-file", "out.jsonl"], "--log-file out.jsonl: is -o as well"),
        (["in.jsonl", "-o", "model/", "--model", "./model"], "-o model/: is --model as well"),
        (["in.jsonl", "-o", "o.parquet", "--reuse", "p/", "--summary", "p"], "--summary p: is --reuse as well"),
        (["in.jsonl", "-o", "o.parquet", "--reuse", "p/", "--log-file", "p"], "--log-file p: is --reuse as well"),
    ],
)
def test_no_named_file_is_written_over(place: Place, words: list[str], problem: str, capfd) -> None:
    folder, call = place
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert cli.run([*call, *words]) == 2
    expected = f"Error: {problem}, and would be written over; name another file\n"
    assert capfd.readouterr().err == expected
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--log-file", "fo/log", "-o", "fo/"], "--log-file fo/log: belongs to what -o writes; name another file"),
        (
            ["--log-file", "o.jsonl.summary.json", "-o", "o.jsonl"],
            "--log-file o.jsonl.summary.json: belongs to what -o writes; name another file",
        ),
        (
            ["--log-file", "o.jsonl.qatool/log.jsonl", "-o", "o.jsonl"],
            "--log-file o.jsonl.qatool/log.jsonl: belongs to what -o writes; name another file",
        ),
        (
            ["--question", "What \udcff?", "-o", "o.jsonl"],
            "--question 'What \\udcff?': is not UTF-8; check the encoding of the terminal or script",
        ),
        (
            ["--summary", "fo/s.json", "-o", "fo/"],
            "--summary fo/s.json: belongs to what -o writes; name another file",
        ),
        (
            ["--summary", "./o.jsonl.rejects.jsonl", "-o", "o.jsonl"],
            "--summary ./o.jsonl.rejects.jsonl: belongs to what -o writes; name another file",
        ),
        (["--questions", "", "-o", "o.jsonl"], "--questions: names no file; give its path"),
        (
            ["--questions", "*.jsonl", "-o", "o.jsonl"],
            "--questions *.jsonl: is 2 files; put the questions into one and name that",
        ),
    ],
)
def test_names_that_cannot_be_meant(place: Place, words: list[str], problem: str, capfd) -> None:
    _, call = place
    assert cli.run([*call, "a.txt", *words]) == 2
    assert capfd.readouterr().err.splitlines()[0] == f"Error: {problem}"


def test_what_goes_to_standard_output_reads_no_log_of_its_own(place: Place, capfd) -> None:
    _, call = place
    words = ["in", "-o", "-", "--summary", "in/s.json", "--log-file", "in/log.jsonl", "--log-format", "json"]
    (place[0] / "in").mkdir()
    shutil.move("in.jsonl", "in")
    for _ in range(2):
        assert cli.run([*call, *words]) == 0
        assert len(capfd.readouterr().out.splitlines()) == 1


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("linked/in.jsonl", "real/in.jsonl"),
        ("real/in.jsonl", "linked/in.jsonl"),
        ("real/in.jsonl", "linked/../real/in.jsonl"),
        ("link.jsonl", "real/in.jsonl"),
        ("link.jsonl", "link.jsonl"),
        ("file://{}/in.jsonl", "real/in.jsonl"),
    ],
)
def test_no_input_is_written_over_by_another_name(place: Place, source: str, output: str, capfd) -> None:
    folder, call = place
    (folder / "real").mkdir()
    shutil.move("in.jsonl", "real")
    (folder / "linked").symlink_to("real")
    (folder / "link.jsonl").symlink_to("linked/in.jsonl")
    before = (folder / "real" / "in.jsonl").read_bytes()
    source = source.format(folder / "real")
    assert cli.run([*call, source, "-o", output]) == 2
    assert capfd.readouterr().err == f"Error: INPUT {source}: is also the output (-o); name another output\n"
    assert cli.run([*call, source, "-o", "out.jsonl", "--summary", output]) == 2
    assert "would be written over" in capfd.readouterr().err
    assert (folder / "link.jsonl").is_symlink()
    assert (folder / "real" / "in.jsonl").read_bytes() == before


@pytest.mark.parametrize("output", ["real/answers.jsonl", "answers.jsonl"])
def test_a_linked_folder_is_read_without_what_was_written_into_it(place: Place, output: str, capfd) -> None:
    folder, call = place
    (folder / "real").mkdir()
    shutil.move("in.jsonl", "real")
    (folder / "linked").symlink_to("real")
    assert cli.run([*call, "linked", "-o", output]) == 0
    (folder / "real" / "latest.jsonl").symlink_to(folder / output)
    assert cli.run([*call, "linked", "-o", output]) == 0
    assert len((folder / output).read_text().splitlines()) == 1


def test_an_output_that_is_a_link_takes_its_place(place: Place, capfd) -> None:
    folder, call = place
    (folder / "data").mkdir()
    shutil.move("in.jsonl", "data")
    (folder / "out.jsonl").symlink_to("data/in.jsonl")
    before = (folder / "data" / "in.jsonl").read_bytes()
    assert cli.run([*call, "data", "-o", "out.jsonl"]) == 0
    assert len((folder / "out.jsonl").read_text().splitlines()) == 1
    assert (folder / "data" / "in.jsonl").read_bytes() == before


def test_a_summary_that_cannot_be_written_is_found_at_once(place: Place, capfd) -> None:
    folder, call = place
    assert cli.run([*call, "in.jsonl", "-o", "out.parquet", "--summary", "no/s.json"]) == 9
    assert capfd.readouterr().err == "Error: no/s.json: the folder no does not exist; create it first\n"
    assert not list(folder.glob("out*"))


def test_a_tokenizer_without_words(place: Place, tiny_model: Path, capfd) -> None:
    folder, call = place
    shutil.copytree(tiny_model, folder / "model", ignore=shutil.ignore_patterns("tokenizer.json"))
    call[call.index("--model") + 1] = "model"
    assert cli.run([*call, "in.jsonl", "-o", "out.parquet"]) == 4
    error = capfd.readouterr().err
    assert error.startswith("Error: model: its tokenizer ")
    assert error.count("\n") == 1


def test_a_failed_first_start_leaves_nothing(place: Place, capfd) -> None:
    folder, call = place
    (folder / "bad.jsonl").write_text("{}\n")
    assert cli.run([*call, "bad.jsonl", "-o", "out.parquet"]) == 3
    assert "bad.jsonl:1: no field 'question'" in capfd.readouterr().err
    assert not list(folder.glob("out*"))


def test_a_pipe_with_a_name_is_no_input(place: Place, capfd) -> None:
    folder, call = place
    os.mkfifo(folder / "pipe.jsonl")
    assert cli.run([*call, "pipe.jsonl", "-o", "out.parquet"]) == 3
    once = "is no regular file and could be read only once"
    assert capfd.readouterr().err == f"Error: pipe.jsonl: {once}; pipe it into -\n"
    (folder / "doc.txt").write_text("A text.")
    assert cli.run([*call, "doc.txt", "--questions", "pipe.jsonl", "-o", "out.parquet"]) == 3
    assert capfd.readouterr().err == f"Error: pipe.jsonl: {once}; write it to a file and name that\n"


def test_an_empty_archive_is_no_empty_corpus(place: Place, capfd) -> None:
    folder, call = place
    (folder / "empty.jsonl.gz").touch()
    assert cli.run([*call, "empty.jsonl.gz", "-o", "out.parquet"]) == 3
    assert capfd.readouterr().err == "Error: empty.jsonl.gz: is empty, not even an empty archive; fetch it again\n"


def test_run_folders_are_not_read_with_their_folder(place: Place, capfd) -> None:
    folder, call = place
    corpus = folder / "corpus"
    (corpus / "old.qatool").mkdir(parents=True)
    (corpus / "old.qatool" / "log.jsonl").write_text("{}\n")
    shutil.copy(folder / "in.jsonl", corpus)
    assert cli.run([*call, "corpus", "-o", "out.jsonl"]) == 0
    assert len((folder / "out.jsonl").read_text().splitlines()) == 1


def test_two_questions_of_one_id_are_two(place: Place, capfd) -> None:
    folder, call = place
    words = ["a.txt", "b.txt", "--questions", "q.jsonl", "--best-per", "question", "-o", "best.jsonl"]
    assert cli.run([*call, *words, "--always-answer"]) == 0
    rows = [json.loads(line) for line in (folder / "best.jsonl").read_text().splitlines()]
    assert [row["question"] for row in rows] == ["Who?", "What else?"]


@pytest.mark.parametrize("output", [".", "in.jsonl", "nothing.parquet"])
def test_status_of_what_no_extraction_made(place: Place, output: str, capfd) -> None:
    assert cli.run(["status", output]) == 3
    assert capfd.readouterr().err == (
        f"Error: {output}: no extraction into it has been started here; check the path\n"
    )


def test_every_bad_value_at_once(place: Place, capfd) -> None:
    _, call = place
    words = ["in.jsonl", "-o", "out.parquet", "--top-k", "0", "--device", "tpu", "--reuse", "old.jsonl"]
    assert cli.run([*call, *words, "--max-windows", "none"]) == 2
    assert capfd.readouterr().err.splitlines() == [
        "Error: --top-k 0: must be at least 1",
        "Error: --max-windows none: give a number from 1, all or auto",
        "Error: --device tpu: no such device; give auto, cpu, cuda or cuda:N",
        (
            "Error: --reuse old.jsonl: answers are taken over from Parquet only; name a .parquet file or a folder "
            "(end its name with /)"
        ),
    ]


@pytest.mark.parametrize(
    ("words", "starts"),
    [
        (
            ["gone", "-o", "o.foo", "--top-k", "0", "--keep", "answer", "--column", "a=b", "--column", "x"],
            ["--top-k 0:", "--column 'x': not of", "-o o.foo: its suffix", "--column a=b: nothing", "--keep answer:"],
        ),
        (["gone", "-o", "o.foo", "--keep", "answer"], ["-o o.foo: its suffix", "--keep answer: the output"]),
    ],
)
def test_names_are_looked_at_with_all_other_values(place: Place, words: list[str], starts: list[str], capfd) -> None:
    """And before any input is."""
    assert cli.run(["extract", *words]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == len(starts)
    assert all(line.startswith(f"Error: {start}") for line, start in zip(lines, starts, strict=True))


def test_no_worker_reads_nothing(place: Place, capfd) -> None:
    _, call = place
    assert cli.run([*call, "in.jsonl", "-o", "out.parquet", "--workers", "0"]) == 2
    assert capfd.readouterr().err == "Error: --workers 0: must be at least 1\n"


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_workers_change_no_bit(place: Place, tiny_model: Path, backend: str) -> None:
    folder, _ = place
    lines = (FIXTURES / "corpus.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)[:30]
    (folder / "corpus.jsonl").write_text("".join(lines), encoding="utf-8")
    written = []
    for workers in ("1", "3"):
        words = ["corpus.jsonl", "-o", "out.parquet", "--workers", workers, "--backend", backend, "-q"]
        assert cli.run(["extract", *words, "--model", str(tiny_model), "--batch-tokens", "300"]) == 0
        written.append((folder / "out.parquet").read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize("output", ["/dev/null", "/dev/stdout", "/dev/fd/1", "pipe", "pipe.parquet"])
def test_a_device_is_no_output(place: Place, output: str, capfd) -> None:
    folder, call = place
    if output.startswith("pipe"):
        os.mkfifo(folder / output)
    assert cli.run([*call, "in.jsonl", "-o", output]) == 9
    assert capfd.readouterr().err == (
        f"Error: {output}: is a device or a pipe, whose name no output can take; use -o - for standard output, or "
        "name a file\n"
    )
    assert cli.run(["prep", "in.jsonl", "-o", output]) == 9
    assert capfd.readouterr().err.endswith("is a device or a pipe, whose name no output can take; name a folder\n")


@pytest.mark.skipif(not os.access("/proc", os.W_OK), reason="/proc is refused for another reason")
@pytest.mark.parametrize("output", ["/proc/x.parquet", "/proc/x"])
def test_a_folder_that_takes_no_files(place: Place, output: str, capfd) -> None:
    _, call = place
    assert cli.run([*call, "in.jsonl", "-o", output]) == 9
    assert capfd.readouterr().err == (
        f"Error: {output}.qatool: cannot be created, as /proc takes no files or folders; write elsewhere\n"
    )
