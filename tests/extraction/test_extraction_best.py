"""``--best-per question``: each question's best answers over all documents."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qatool.extraction.best import best_per_question

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


def best(rows: list[Row], *, top_k: int, part: int = 3) -> list[list[int]]:
    """The rows kept, a list for each table that is yielded."""
    whole = pa.Table.from_pylist(
        [dict(zip(SCHEMA.names, (i, *row), strict=True)) for i, row in enumerate(rows)], schema=SCHEMA
    )
    tables = best_per_question(lambda: (whole.slice(at, part) for at in range(0, len(whole), part)), top_k=top_k)
    found = list(tables)
    assert all(table.schema.equals(SCHEMA) for table in found)
    return [table["row"].to_pylist() for table in found]


def answered(question: str, score: float) -> Row:
    return question, f"words of {question}", "yes", score, None


def unanswered(question: str, score: float | None = None) -> Row:
    return question, f"words of {question}", None, score, None


BAD: Row = ("q9", "", None, None, "question is missing")


@pytest.mark.parametrize(
    ("rows", "top_k", "expected"),
    [
        ([answered("a", 0.2), answered("b", 0.1), answered("a", 0.7)], 1, [[2], [1]]),
        ([answered("b", 0.2), answered("a", 0.9), answered("b", 0.1)], 1, [[0], [1]]),
        ([answered("a", s) for s in (0.1, 0.5, 0.3, 0.4)], 3, [[1, 3, 2]]),
        ([answered("a", 0.5)] * 3, 2, [[0, 1]]),
        ([unanswered("a", 0.9), answered("a", 0.1)], 1, [[1]]),
        ([unanswered("a", 0.9), answered("a", 0.1)], 5, [[1]]),
        ([unanswered("a", 0.2), unanswered("a", 0.4), unanswered("a")], 2, [[1]]),
        ([unanswered("a"), unanswered("a")], 2, [[0]]),
        ([BAD, answered("a", 0.1), BAD], 1, [[1], [0, 2]]),
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
        expected.append([i for missing, _, i in own if not missing][:top_k] or [own[0][2]])
    rejected = [i for i, one in enumerate(rows) if one[-1] is not None]
    assert best(rows, top_k=top_k, part=part) == expected + ([rejected] if rejected else [])


def test_memory_is_that_of_the_rows_kept() -> None:
    def parts() -> Any:
        for part in range(40):
            texts = [f"{part}" + "x" * 10_000] * 100
            yield pa.table(
                {"row": range(100), "question_id": [f"q{part}"] * 100, "question": ["why"] * 100, "answer": texts}
                | {"score": [0.5] * 100, "error": pa.nulls(100, pa.string())}
            )

    before = pa.total_allocated_bytes()
    tables = best_per_question(parts, top_k=1)
    next(tables)
    assert pa.total_allocated_bytes() - before < 5_000_000
