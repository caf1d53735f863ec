"""What is told of inputs that are not what they seem: documents without questions, columns that no row has."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from featurehelpers import run, write

if TYPE_CHECKING:
    from pathlib import Path

ROW = {"question": "Who has the key?", "context": "Mrs Hollins has the key."}


@pytest.fixture
def call(tmp_path: Path, tiny_model: Path, monkeypatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    return ["extract", "--backend", "constant", "--model", str(tiny_model), "--progress", "none"]


def warnings(text: str) -> list[str]:
    return [line.partition(" WARNING ")[2] for line in text.splitlines() if " WARNING " in line]


@pytest.mark.parametrize("name", ["a.txt", "."])
def test_a_document_without_a_question(tmp_path, call, capfd, name) -> None:
    write(tmp_path / "in.jsonl", [ROW])
    (tmp_path / "a.txt").write_text("Mrs Hollins has the key.")
    run(*call, name, "-o", "x.parquet", code=2)
    assert capfd.readouterr().err == (
        "Error: INPUT a.txt: is a document without a question; ask one with --question TEXT, or name a file of them "
        "with --questions FILE\n"
    )
    assert not list(tmp_path.glob("x.parquet*"))


def test_paths_that_are_not_utf8(tmp_path, call, tiny_model, capfd) -> None:
    folder = tmp_path / "d\udcff"
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist([ROW]), tmp_path / "in.parquet")
    (tmp_path / "in.parquet").rename(folder / "in\udcfe.parquet")
    run(*call, f"{folder}/in\udcfe.parquet", "-o", f"{folder}/x\udcff.parquet")
    run("prep", f"{folder}/in\udcfe.parquet", "-o", f"{folder}/features", "--model", tiny_model, "--progress", "none")
    run(*call, f"{folder}/features", "-o", f"{folder}/y.parquet")
    assert (folder / "x\udcff.parquet").read_bytes() == (folder / "y.parquet").read_bytes()
    assert json.loads((folder / "x\udcff.parquet.summary.json").read_bytes())["output"].endswith("/x\udcff.parquet")


@pytest.mark.parametrize("output", ["x.jsonl", "-"])
def test_a_kept_column_that_no_row_has(tmp_path, call, capfd, output) -> None:
    write(tmp_path / "in.jsonl", [ROW, ROW | {"note": None}, ROW | {"tag": 1}])
    run(*call, "in.jsonl", "-o", output, "--keep", "tag", "--keep", "tga", "--keep", "note", "--shard-rows", 1)
    found = capfd.readouterr()
    assert warnings(found.err) == ["--keep tga: no row has this column, so it is null throughout"]
    lines = (tmp_path / output).read_text() if output != "-" else found.out
    assert [json.loads(line)["tga"] for line in lines.splitlines()] == [None] * 3


def test_a_kept_column_of_documents_or_questions(tmp_path, call, capfd) -> None:
    write(tmp_path / "in.jsonl", [{"context": ROW["context"], "tag": 1}])
    write(tmp_path / "q.jsonl", [{"question": ROW["question"], "note": 2}])
    run(*call, "in.jsonl", "--questions", "q.jsonl", "-o", "x.jsonl", "--keep", "tag", "--keep", "note")
    assert warnings(capfd.readouterr().err) == []
    run(*call, "in.jsonl", "--questions", "q.jsonl", "-o", "x.jsonl", "--keep", "tga", "--keep", "note")
    assert len(warnings(capfd.readouterr().err)) == 1


def test_a_dry_run_tells_of_it_beforehand(tmp_path, call, capfd) -> None:
    write(tmp_path / "in.jsonl", [ROW])
    run(*call, "in.jsonl", "-o", "x.jsonl", "--keep", "tga", "--dry-run")
    assert "--keep tga: no row has this column\n" in capfd.readouterr().out


def test_no_column_is_missed_in_an_input_without_rows(tmp_path, call, capfd) -> None:
    write(tmp_path / "in.jsonl", [])
    run(*call, "in.jsonl", "-o", "x.jsonl", "--keep", "tga")
    assert warnings(capfd.readouterr().err) == ["the input holds no example, so the output has no rows"]


MOVE = "move the file, or name the inputs by a pattern that leaves it out"


@pytest.mark.parametrize(
    ("output", "left", "told"),
    [
        ("out.jsonl", ".summary.json", "docs/out.jsonl: holds the answers of an earlier run"),
        ("out.jsonl", "", "docs/out.jsonl:1: is an answer of an earlier run, which has no context"),
        ("out.parquet", ".summary.json", "docs/out.parquet: holds the answers of an earlier run"),
        ("out.parquet", "", "docs/out.parquet: holds the answers of an earlier run"),
        ("out/", ".summary.json", "docs/out: holds the answers of an earlier run"),
        ("out/", "", "docs/out/part-00000.parquet: holds the answers of an earlier run"),
    ],
)
def test_the_output_of_an_earlier_run_among_the_documents(tmp_path, call, capfd, output, left, told) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "z.txt").write_text("Mrs Hollins has the key.")
    call += ["docs", "--question", "Who has the key?", "-q"]
    run(*call, "-o", f"docs/{output}")
    if not left:
        (tmp_path / f"docs/{output.rstrip('/')}.summary.json").unlink()
    run(*call, "-o", "docs/again.jsonl", code=3)
    assert capfd.readouterr().err == f"Error: {told}; {MOVE}\n"


@pytest.mark.parametrize("with_answers", [True, False])
def test_what_an_earlier_run_left_without_its_answers(tmp_path, call, capfd, with_answers) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "z.txt").write_text("Mrs Hollins has the key.")
    write(docs / "b.jsonl", [{"id": "b"}])
    call += ["docs", "--question", "Who has the key?", "-q", "--summary", "docs/a.json"]
    run(*call, "-o", "docs/out.jsonl", "--on-error", "skip", code=5)
    capfd.readouterr()
    told = "docs/out.jsonl: holds the answers of an earlier run"
    if not with_answers:
        (docs / "out.jsonl").unlink()
        told = "docs/out.jsonl.rejects.jsonl: lists the rejected rows of an earlier run"
        (docs / "out.jsonl.summary.json").unlink()
    run(*call, "-o", "docs/again.jsonl", code=3)
    assert capfd.readouterr().err == f"Error: {told}; {MOVE}\n"


def test_a_summary_of_any_name(tmp_path, call, capfd) -> None:
    write(tmp_path / "in.jsonl", [ROW])
    (tmp_path / "docs").mkdir()
    run(*call, "in.jsonl", "-o", "out.jsonl", "-q", "--dry-run", "--summary", "docs/told.json")
    write(tmp_path / "docs" / "z.jsonl", [ROW])
    run(*call, "docs", "-o", "again.jsonl", "-q", code=3)
    assert capfd.readouterr().err.endswith(f"Error: docs/told.json: is the summary of an earlier run; {MOVE}\n")


def test_files_named_like_what_a_run_leaves_are_read(tmp_path, call) -> None:
    (tmp_path / "docs").mkdir()
    write(tmp_path / "docs" / "out.jsonl.rejects.jsonl", [ROW])
    (tmp_path / "docs" / "out.jsonl.summary.json").write_text(json.dumps([ROW]))
    write(tmp_path / "docs" / "out.jsonl", [ROW | {"answer": "", "candidates": [], "fingerprint": ""}])
    run(*call, "docs", "-o", "out.jsonl", "-q")
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize("name", ["x.rejects.jsonl", "x.jsonl"])
def test_rows_of_the_user_that_resemble_ours_are_answered(tmp_path, call, name) -> None:
    (tmp_path / "mine").mkdir()
    ours = {"where": "Rome", "reason": "why", "row": 1, "answer": "x", "candidates": 1, "fingerprint": 2}
    row = {**ROW, **ours, "id": "a"}
    write(tmp_path / "mine" / name, [row])
    run(*call, "mine", "-o", "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text())["id"] == "a"


def test_rows_of_the_user_are_not_taken_for_what_this_command_writes(tmp_path, call, capfd) -> None:
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "a.jsonl", [ROW])
    mine = tmp_path / "in" / "out.jsonl.rejects.jsonl"
    write(mine, [{**ROW, "where": "Rome", "reason": "why"}])
    before = mine.read_bytes()
    run(*call, "in", "-o", "in/out.jsonl", code=2)
    assert "qatool did not make it" in capfd.readouterr().err
    assert mine.read_bytes() == before
