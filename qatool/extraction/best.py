"""``--best-per question``: of all documents' answers to a question, only the best."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class _Standing(NamedTuple):
    """Where an answer stands: answered before unanswered, then by score, then the earlier row."""

    answered: bool
    score: float
    earlier: int
    """Minus the row's position in the whole input."""


def best_per_question(tables: Callable[[], Iterator[pa.Table]], *, top_k: int) -> Iterator[pa.Table]:
    """Yield one table a question, in order of the questions' first appearance: its ``top_k`` best rows.

    Rows with an answer come first, by ``score``; a question that no document answers keeps its single best row,
    which says so. Rejected rows are kept as they are, at the end. Two passes are made over ``tables``; in memory
    stand the best rows only, so it grows with the number of questions, not of documents.

    :param tables: returns the parts' tables from the start
    """
    # Questions with one id but other words are two questions.
    best: dict[tuple[str, str], list[_Standing]] = {}
    rejected: list[int] = []
    for row, table_row in _rows(tables(), ["question_id", "question", "answer", "score", "error"]):
        if table_row["error"] is not None:
            rejected.append(row)
            continue
        score = table_row["score"]
        standing = _Standing(table_row["answer"] is not None, -1.0 if score is None else score, -row)
        held = best.setdefault((table_row["question_id"], table_row["question"]), [])
        if len(held) < top_k:
            heapq.heappush(held, standing)
        else:
            heapq.heappushpop(held, standing)
    chosen = {question: _chosen(held) for question, held in best.items()}
    wanted = {row: question for question, rows in chosen.items() for row in rows}
    rows: dict[int, pa.Table] = {}
    last_rejects = set(rejected)
    first = 0
    for table in tables():
        for row in range(first, first + table.num_rows):
            if row in wanted or row in last_rejects:
                rows[row] = table.take([row - first])  # a slice would hold the whole part
        first += table.num_rows
    for places in [*chosen.values(), rejected]:
        if places:
            yield pa.concat_tables([rows[place] for place in places]).combine_chunks()


def _chosen(held: list[_Standing]) -> list[int]:
    """Return the rows of the answered ones, best first, or the single best of the unanswered."""
    ranked = sorted(held, reverse=True)
    answered = [one for one in ranked if one.answered] or ranked[:1]
    return [-one.earlier for one in answered]


def _rows(tables: Iterator[pa.Table], columns: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield every row with its position."""
    row = 0
    for table in tables:
        for values in table.select(columns).to_pylist():
            yield row, values
            row += 1
