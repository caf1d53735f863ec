"""``--best-per question``: each question's best answers over all documents."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qatool.extraction.best.best import best_per_question, samples_of
from qatool.extraction.best.ranking import Ranking
from qatool.schema import candidate_type
from qatool.spans.calibration import Calibration
from qatool.spans.joint import JointScores

SCHEMA = pa.schema(
    {
        "row": pa.int64(),
        "question_id": pa.string(),
        "question": pa.string(),
        "answer": pa.string(),
        "score": pa.float32(),
        "error": pa.string(),
    }
)
Row = tuple[str, str, str | None, float | None, str | None]


def best(rows: list[Row], *, top_k: int, part: int = 3) -> list[int]:
    """The rows kept."""
    whole = pa.Table.from_pylist(
        [dict(zip(SCHEMA.names, (i, *row), strict=True)) for i, row in enumerate(rows)], schema=SCHEMA
    )
    tables = best_per_question(lambda: (whole.slice(at, part) for at in range(0, len(whole), part)), top_k=top_k)
    found = list(tables.tables)
    assert all(table.schema.equals(SCHEMA) for table in found)
    return [row for table in found for row in table["row"].to_pylist()]


def answered(question: str, score: float) -> Row:
    return question, f"words of {question}", "yes", score, None


def unanswered(question: str, score: float | None = None) -> Row:
    return question, f"words of {question}", None, score, None


BAD: Row = ("q9", "", None, None, "question is missing")


@pytest.mark.parametrize(
    ("rows", "top_k", "expected"),
    [
        ([answered("a", 0.2), answered("b", 0.1), answered("a", 0.7)], 1, [2, 1]),
        ([answered("b", 0.2), answered("a", 0.9), answered("b", 0.1)], 1, [0, 1]),
        ([answered("a", s) for s in (0.1, 0.5, 0.3, 0.4)], 3, [1, 3, 2]),
        ([answered("a", 0.5)] * 3, 2, [0, 1]),
        ([unanswered("a", 0.9), answered("a", 0.1)], 1, [1]),
        ([unanswered("a", 0.9), answered("a", 0.1)], 5, [1]),
        ([unanswered("a", 0.2), unanswered("a", 0.4), unanswered("a")], 2, [1]),
        ([unanswered("a"), unanswered("a")], 2, [0]),
        ([BAD, answered("a", 0.1), BAD], 1, [1, 0, 2]),
        ([], 1, []),
    ],
)
def test_best_per_question(rows, top_k, expected) -> None:
    assert best(rows, top_k=top_k) == expected


row = st.tuples(
    st.sampled_from("ab"),
    st.sampled_from(["one", "two"]),
    st.sampled_from([None, "x"]),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    st.just(None),
) | st.just(BAD)


@given(rows=st.lists(row, max_size=30), top_k=st.integers(1, 4), part=st.integers(1, 7))
def test_as_sorting_everything_would(rows, top_k, part) -> None:
    fine = [(i, one) for i, one in enumerate(rows) if one[-1] is None]
    expected = []
    for question in dict.fromkeys(one[:2] for _, one in fine):
        own = sorted((one[2] is None, -(one[3] or 0.0), i) for i, one in fine if one[:2] == question)
        expected += [i for missing, _, i in own if not missing][:top_k] or [own[0][2]]
    rejected = [i for i, one in enumerate(rows) if one[-1] is not None]
    assert best(rows, top_k=top_k, part=part) == expected + rejected


def scored(rows: list[tuple[str | None, float | None, float | None]]) -> pa.Table:
    """A table of one question's documents: answer, score and no-answer score; two candidates each."""
    columns: dict[str, list[Any]] = {name: [] for name in (*SCHEMA.names, "no_answer_score", "candidates")}
    for number, (answer, score, no_answer) in enumerate(rows):
        candidate = {"answer": "x", "answer_start": 3, "answer_end": 4, "span_logit": 1.5, "null_logit": 0.5}
        two = [candidate | {"score": score * share, "window": 0} for share in (1.0, 0.25)] if score else []
        values = (number, "q", "why", answer, score, None, no_answer, None if score is None else two)
        for name, value in zip(columns, values, strict=True):
            columns[name].append(value)
    types = pa.schema([*SCHEMA, ("no_answer_score", pa.float32()), ("candidates", pa.list_(candidate_type()))])
    return pa.table(columns, schema=types)


def test_scores_of_documents_taken_together() -> None:
    # The second document has the answer, in two places that share its probability.
    table = scored([("wrong", 0.9, 0.1), ("right", 0.5, 0.001), (None, None, None), (None, 0.2, 0.7)])
    joint = JointScores(calibration=Calibration())
    (found,) = best_per_question(lambda: iter([table.slice(0, 1), table.slice(1, 3)]), top_k=3, joint=joint).tables
    assert found.schema.equals(table.schema)
    assert found["answer"].to_pylist() == ["right", "wrong"]
    odds = {"wrong": 0.9 / 0.1, "right": 0.999 / 0.001, "none": 0.3 / 0.7}
    expected = [odds["right"] * 0.5 / 0.999, odds["wrong"]]
    expected = [value / (1 + sum(odds.values())) for value in expected]
    assert found["score"].to_pylist() == pytest.approx(expected, rel=1e-5)
    assert found["no_answer_score"].to_pylist() == pytest.approx([0.001, 0.1])
    candidates = found["candidates"].to_pylist()
    assert [one["score"] for row in candidates for one in row] == pytest.approx(
        [value * share for value in expected for share in (1.0, 0.25)], rel=1e-5
    )
    assert {one["span_logit"] for row in candidates for one in row} == {1.5}


def test_documents_that_start_behind() -> None:
    table = scored([("wrong", 0.9, 0.1), ("right", 0.5, 0.4), (None, None, None)])
    joint = JointScores(calibration=Calibration())
    # Rejected rows at the end of all have none.
    ranking = Ranking(pairs=None, prior=np.array([-3.0, 0.0], dtype=np.float32), n_questions=1)
    tables = lambda: iter([table.slice(0, 1), table.slice(1, 2)])  # noqa: E731
    (found,) = best_per_question(tables, top_k=3, joint=joint, ranking=ranking).tables
    assert found["answer"].to_pylist() == ["right", "wrong"]
    odds = {"wrong": 9.0 * np.exp(-3.0), "right": 0.6 / 0.4}
    expected = [odds["right"] * 0.5 / 0.6, odds["wrong"]]
    assert found["score"].to_pylist() == pytest.approx(
        [value / (1 + sum(odds.values())) for value in expected], rel=1e-5
    )
    # Where scores are no such probabilities there is nothing to start behind in.
    (found,) = best_per_question(tables, top_k=3, ranking=ranking).tables
    assert found["answer"].to_pylist() == ["wrong", "right"]


def test_one_document_alone_keeps_its_score() -> None:
    table = scored([("yes", 0.37, 0.21)])
    joint = JointScores(calibration=Calibration(answerable_slope=0.15, answerable_bias=-1.2))
    (found,) = best_per_question(lambda: iter([table]), top_k=1, joint=joint).tables
    assert found["score"].to_pylist() == pytest.approx([0.37], rel=1e-6)


def test_documents_with_nothing_to_read() -> None:
    table = scored([(None, None, None), (None, None, None)])
    joint = JointScores(calibration=Calibration())
    (found,) = best_per_question(lambda: iter([table]), top_k=2, joint=joint).tables
    assert found.equals(table.slice(0, 1))


def test_in_small_blocks_and_tables(monkeypatch) -> None:
    """As in large ones: rows wait in tables of one row, in blocks, and come out some at a time."""
    rows = [answered(f"q{row % 50}", row * 37 % 101 / 101) for row in range(300)] + [BAD] * 20
    whole = best(rows, top_k=3, part=300)
    monkeypatch.setattr("qatool.extraction.answering.gather.BLOCK_ROWS", 11)
    monkeypatch.setattr("qatool.extraction.answering.gather.SMALL_TABLES", 3)
    monkeypatch.setattr("qatool.extraction.best.best.ROWS_AT_ONCE", 7)
    assert len(whole) == 50 * 3 + 20
    assert best(rows, top_k=3, part=2) == whole


def test_a_row_kept_takes_little_memory() -> None:
    """Not what a table of its own takes, in Arrow alone some 64 bytes a buffer."""
    rows = 4_000
    kept = {f"kept {n}": ["a"] * rows for n in range(20)}
    columns = {"question_id": [f"q{n}" for n in range(rows)], "score": [0.5] * rows, "question": ["why"] * rows}
    whole = pa.table(columns | kept | {"answer": ["a"] * rows, "error": pa.nulls(rows, pa.string())})
    before = pa.total_allocated_bytes()
    tables = best_per_question(lambda: (whole.slice(at, 100) for at in range(0, rows, 100)), top_k=1).tables
    assert next(tables).num_rows < rows
    assert pa.total_allocated_bytes() - before < 2_000_000


def test_memory_is_that_of_the_rows_kept() -> None:
    def parts() -> Any:
        for part in range(40):
            texts = [f"{part}" + "x" * 10_000] * 100
            yield pa.table(
                {"row": range(100), "question_id": [f"q{part}"] * 100, "question": ["why"] * 100, "answer": texts}
                | {"score": [0.5] * 100, "error": pa.nulls(100, pa.string())}
            )

    before = pa.total_allocated_bytes()
    tables = best_per_question(parts, top_k=1).tables
    next(tables)
    assert pa.total_allocated_bytes() - before < 5_000_000


@pytest.mark.parametrize("snippet", [None, 0, 4, 50])
def test_samples_show_answers_in_their_snippets(snippet) -> None:
    context = "It was Ada Lovelace, in 1843."
    answers = [("Ada Lovelace", 7, 19), ("It", 0, 2), (None, None, None)]
    columns = {
        "id": ["a", "b", "c"],
        "question": ["Who?", "What?", "Why?"],
        "answer": [text for text, _, _ in answers],
        "answer_start": [start for _, start, _ in answers],
        "score": [0.5, 0.25, 0.0],
    }
    if snippet is not None:
        columns["snippet"] = [
            None if start is None else context[max(0, start - snippet) : end + snippet] for _, start, end in answers
        ]
    found = samples_of(pa.table(columns), 5, snippet=snippet)
    assert [one.context[one.answer_start : one.answer_end] for one in found] == ["Ada Lovelace", "It"]
    assert found[0].context == ("Ada Lovelace" if snippet is None else columns["snippet"][0])
