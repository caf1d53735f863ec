"""``qatool inspect ANSWERS``: the candidates, and their context."""

from __future__ import annotations

import itertools
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from evalhelpers import answer, without_powers, write_answers
from hypothesis import given
from hypothesis import strategies as st
from support import FIXTURES

from qatool import cli
from qatool.evaluation.highlight import pieces
from qatool.files.values.jsonlines import encode_lines
from qatool.schema import fingerprint

CONTEXT = "The cat sat.\nThe \x1b[31mdog\x1b[0m barked at the owl."
SPANS = [(4, 7), (22, 25), (0, 7)]


def candidate(start: int, end: int, score: float) -> dict:
    return {"answer": CONTEXT[start:end], "answer_start": start, "answer_end": end, "score": score}


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    row = answer("q1", "cat", score=0.5)
    row |= {"question": "Who sat?", "fingerprint": fingerprint("Who sat?", CONTEXT)}
    row["candidates"] = [candidate(*span, 0.5 / (rank + 1)) for rank, span in enumerate(SPANS)]
    rejected = answer("q2", None, error="context is null", score=None, no_answer_score=None)
    odd = answer("q3", None, score=None, no_answer_score=1.0) | {"n_windows": 0, "n_windows_read": 0, "window": None}
    write_answers(tmp_path / "answers.parquet", row, rejected, odd)
    (tmp_path / "corpus.jsonl").write_text(json.dumps({"id": "q1", "question": "Who sat?", "context": CONTEXT}))
    return tmp_path


def shown(capsys, *words: str) -> list[str]:
    assert cli.run(["inspect", *words]) == 0, capsys.readouterr().err
    return capsys.readouterr().out.splitlines()


def test_an_answer_without_its_context(files, capsys) -> None:
    assert shown(capsys, "answers.parquet") == [
        "answer q1 (row 0)",
        "question: Who sat?",
        "decided: cat (no-answer score 0.1000)",
        "windows: 1, the best span in window 0",
        "1. 0.5000  4-7  cat",
        "2. 0.2500  22-25  dog",
        "3. 0.1667  0-7  The cat",
        "to see them in their context, name the input with --corpus",
    ]


@pytest.mark.parametrize("words", [("--row", "0"), ("--id", "q1"), ()])
def test_an_answer_in_its_context(files, capsys, words) -> None:
    lines = shown(capsys, "answers.parquet", "--corpus", "corpus.jsonl", *words)
    assert lines[-2:] == ["", "3>The <>>cat<< sat. The \\x1b[31m2>dog<\\x1b[0m barked at the owl."]


def test_rejected_and_empty_rows(files, capsys) -> None:
    assert shown(capsys, "answers.parquet", "--row", "1")[2:] == ["rejected: context is null"]
    assert shown(capsys, "answers.parquet", "--id", "q3")[2:] == [
        "decided: no answer (no-answer score 1.0000)",
        "windows: none, the question or the context is empty",
    ]


def test_a_question_that_is_null_is_not_shown(files, capsys) -> None:
    rejected = answer("q2", None, error="question is null", question=None, score=None, no_answer_score=None)
    (files / "a.jsonl").write_text(json.dumps(rejected))
    assert shown(capsys, "a.jsonl") == ["answer q2 (row 0)", "rejected: question is null"]


def test_a_kept_time_beyond_pythons_years(files, capsys) -> None:
    expected = shown(capsys, "answers.parquet")
    table = pq.read_table("answers.parquet")
    table = table.append_column("printed", pa.array([2**40] * 3, pa.timestamp("s")))
    with pytest.raises(OverflowError):
        table["printed"].to_pylist()
    pq.write_table(table, "answers.parquet")
    assert shown(capsys, "answers.parquet") == expected
    assert cli.run(["report", "answers.parquet", "--corpus", "corpus.jsonl", "-o", "page.html"]) == 0
    assert "Who sat?" in (files / "page.html").read_text()


def test_lines_and_folders_of_answers(files, capsys) -> None:
    expected = shown(capsys, "answers.parquet", "--corpus", "corpus.jsonl", "--id", "q1")
    table = pq.read_table("answers.parquet")
    (files / "answers.jsonl").write_bytes(encode_lines(table))
    folder = files / "answers"
    folder.mkdir()
    for part, first in enumerate((1, 0)):
        pq.write_table(table.slice(first, 1), folder / f"part-{part:05d}.parquet")
    (folder / "_SUCCESS").write_text('{"qatool": {}}')
    assert shown(capsys, "answers.jsonl", "--corpus", "corpus.jsonl") == expected
    found = shown(capsys, "answers", "--corpus", "corpus.jsonl", "--row", "1")
    assert found == [line.replace("(row 0)", "(row 1)") for line in expected]


def test_a_document_that_was_asked(files, capsys) -> None:
    rows = pq.read_table("answers.parquet").slice(0, 1).to_pylist()
    table = pa.Table.from_pylist([rows[0] | {"document_id": "cats.txt", "question_id": "q0"}])
    pq.write_table(table, "answers.parquet")
    (files / "docs").mkdir()
    (files / "docs" / "cats.txt").write_text(CONTEXT, newline="")
    assert ">>cat<< sat." in shown(capsys, "answers.parquet", "--corpus", "docs")[-1]


def test_an_answer_by_the_id_of_its_question(files, capsys) -> None:
    rows = pq.read_table("answers.parquet").slice(0, 1).to_pylist() * 2
    made = [row | {"id": f"{name}/w", "question_id": "w"} for row, name in zip(rows, "ab", strict=True)]
    pq.write_table(pa.Table.from_pylist(made), "answers.parquet")
    (files / "answers.jsonl").write_bytes(encode_lines(pq.read_table("answers.parquet")))
    for name in ("answers.parquet", "answers.jsonl"):
        assert shown(capsys, name, "--id", "w")[0] == "answer a/w (row 0)"
        assert shown(capsys, name, "--id", "b/w")[0] == "answer b/w (row 1)"


NESTED = {
    "data": [{"paragraphs": [{"context": CONTEXT, "qas": [{"id": "x", "question": "Who?", "answers": []}] * 2}]}]
}


@pytest.mark.parametrize(
    ("name", "held", "document"),
    [
        ("docs.jsonl", {"id": "cats", "context": CONTEXT, "question": "Who barked?"}, "cats"),
        ("docs.json", NESTED, "x"),
    ],
)
def test_a_document_with_questions_of_its_own(files, capsys, name, held, document) -> None:
    """Asked others, as --question does, it is found all the same."""
    rows = pq.read_table("answers.parquet").slice(0, 1).to_pylist()
    pq.write_table(
        pa.Table.from_pylist([rows[0] | {"document_id": document, "question_id": "q0"}]), "answers.parquet"
    )
    (files / name).write_text(json.dumps(held))
    assert ">>cat<< sat." in shown(capsys, "answers.parquet", "--corpus", name)[-1]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"question": ...}, "no question"),
        ({"error": ...}, "no error"),
        ({"no_answer_score": None}, "no number as no_answer_score"),
        ({"no_answer_score": 10**400}, "no number as no_answer_score"),
        ({"n_windows": ...}, "no number as n_windows"),
        ({"candidates": [{"answer": "cat", "score": 0.5}]}, "a candidate without answer, score or offsets"),
        ({"candidates": {"answer": "cat"}}, "a candidate without answer, score or offsets"),
    ],
)
def test_lines_that_lack_what_is_shown(files, capsys, change, told) -> None:
    row = {name: value for name, value in (answer("q2", "cat") | change).items() if value is not ...}
    (files / "a.jsonl").write_text("\n".join(map(json.dumps, [answer("q1", "cat"), row])))
    assert cli.run(["inspect", "a.jsonl", "--row", "1"]) == 3
    assert capsys.readouterr().err == f"Error: a.jsonl row 1: {told}; name answers as qatool extract wrote them\n"


@pytest.mark.parametrize("columns", ["0", "1", "5"])
def test_a_terminal_without_columns(files, capsys, monkeypatch, columns) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr("qatool.cli.show.inspectedanswer.is_terminal", lambda _: True)
    lines = shown(capsys, "answers.parquet", "--corpus", "corpus.jsonl")
    assert lines[0] == "answer q1 (row 0)"
    assert lines[-1].strip() == "The cat sat. The \\x1b[31mdog\\x1b[0m barked at the owl."


@pytest.mark.parametrize("words", [("inspect", "answers.parquet"), ("report", "answers.parquet", "-o", "page.html")])
def test_answers_that_may_not_be_read(files, words) -> None:
    (files / "answers.parquet").chmod(0)
    assert without_powers(*words) == (3, "Error: answers.parquet: permission denied; change its permissions\n")


NOT_FOUND = (
    "--corpus other.jsonl: does not hold the question and context of this answer; name the very input it was found in"
)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("answers.parquet", "--row", "3"), 3, "answers.parquet: has no row 3; there are 3, from 0"),
        (("answers.parquet", "--id", "zz"), 3, "answers.parquet: none of its 3 answers has the id 'zz'; check --id"),
        (("answers.parquet", "--corpus", "other.jsonl"), 3, NOT_FOUND),
        (("answers.parquet", "--column", "a=b"), 2, "--column: names columns of --corpus; name that too"),
        (
            ("corpus.jsonl",),
            3,
            "corpus.jsonl: cannot be inspected; name what qatool prep made, or answers of qatool extract",
        ),
    ],
)
def test_problems(files, capsys, words, code, message) -> None:
    (files / "other.jsonl").write_text(json.dumps({"id": "q1", "question": "Who sat?", "context": "Changed."}))
    assert cli.run(["inspect", *words]) == code
    assert capsys.readouterr().err == f"Error: {message}\n"


@given(
    context=st.text(max_size=60),
    ends=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=4),
    around=st.integers(0, 30),
)
def test_pieces_are_the_context_with_gaps(context, ends, around) -> None:
    spans = [(a, b) for a, b in ends if a < b <= len(context)]
    found = pieces(context, spans, around=around)
    place = 0
    for number, piece in enumerate(found):
        if piece.is_gap:
            place = context.index(found[number + 1].text, place) if number + 1 < len(found) else len(context)
            continue
        assert context.startswith(piece.text, place)
        place += len(piece.text)
    # Nothing is cut where the rank is the same on both sides.
    assert all(one.rank != other.rank or one.is_gap or other.is_gap for one, other in itertools.pairwise(found))
    covered = {at for start, end in spans for at in range(start, end)}
    assert sum(len(piece.text) for piece in found if piece.rank is not None) == len(covered)


def test_every_fixture_can_be_found_again(tmp_path, capsys) -> None:
    row = json.loads((FIXTURES / "corpus.jsonl").read_text(encoding="utf-8").splitlines()[5])
    text, start = row["answers"]["text"][0], row["answers"]["answer_start"][0]
    values = answer(row["id"], text) | {"fingerprint": fingerprint(row["question"], row["context"])}
    values["question"] = row["question"]
    values["candidates"][0] |= {"answer_start": start, "answer_end": start + len(text)}
    path = write_answers(tmp_path / "answers.parquet", values)
    assert f">>{text}<<" in shown(capsys, str(path), "--corpus", str(FIXTURES / "corpus.parquet"))[-1]
