"""``--best-per question``: of all documents' answers to a question, only the best."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from qatool.windows.ragged import offsets_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from qatool.spans.joint import JointScores


class _Standing(NamedTuple):
    """Where an answer stands: answered before unanswered, then by its value, then the earlier row."""

    answered: bool
    value: float
    """Its margin where scores are joint, else its score."""
    earlier: int
    """Minus the row's position in the whole input."""

    @property
    def row(self) -> int:
        return -self.earlier


@dataclass
class _Question:
    """What all documents answered to a question, so far."""

    best: list[_Standing] = field(default_factory=list)
    """A heap, the worst first."""
    mass: float = -np.inf
    """Of all documents together; see :class:`JointScores`."""


def best_per_question(
    tables: Callable[[], Iterator[pa.Table]], *, top_k: int, joint: JointScores | None = None
) -> Iterator[pa.Table]:
    """Yield one table a question, in order of the questions' first appearance: its ``top_k`` best rows.

    Rows with an answer come first, by ``score``; a question that no document answers keeps its single best row,
    which says so. Rejected rows are kept as they are, at the end. Two passes are made over ``tables``; in memory
    stand the best rows only, so it grows with the number of questions, not of documents.

    :param tables: returns the parts' tables from the start
    :param joint: makes ``score`` that of a span among all documents' spans; ``None``: it stays as it is
    """
    # Questions with one id but other words are two questions.
    questions: dict[tuple[str, str], _Question] = {}
    rejected: list[int] = []
    first = 0
    for table in tables():
        value, mass = _values(table, joint)
        columns = (table[name].to_pylist() for name in ("question_id", "question", "error"))
        answered = table["answer"].is_valid().to_pylist()
        for place, (question_id, question, error) in enumerate(zip(*columns, strict=True)):
            row = first + place
            if error is not None:
                rejected.append(row)
                continue
            held = questions.setdefault((question_id, question), _Question())
            held.mass = float(np.logaddexp(held.mass, mass[place]))
            standing = _Standing(answered[place], float(value[place]), -row)
            if len(held.best) < top_k:
                heapq.heappush(held.best, standing)
            else:
                heapq.heappushpop(held.best, standing)
        first += table.num_rows
    chosen = [(_chosen(held.best), held.mass) for held in questions.values()]
    rows = _rows(tables(), {kept.row for several, _ in chosen for kept in several}.union(rejected))
    for several, mass_of_all in chosen:
        best = pa.concat_tables([rows[kept.row] for kept in several]).combine_chunks()
        if joint is not None:
            margin = np.array([kept.value for kept in several])
            best = _rescored(best, joint.score(margin, mass_of_all))
        yield best
    if rejected:
        yield pa.concat_tables([rows[row] for row in rejected]).combine_chunks()


def _values(table: pa.Table, joint: JointScores | None) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return what each row is ranked by and the mass of its spans, ``(n,)`` each."""
    score = table["score"].to_numpy()
    if joint is None:
        return np.nan_to_num(score, nan=-1.0), np.zeros(len(score))
    return joint.margins(score, table["no_answer_score"].to_numpy())


def _chosen(held: list[_Standing]) -> list[_Standing]:
    """Return the answered ones, best first, or the single best of the unanswered."""
    ranked = sorted(held, reverse=True)
    return [one for one in ranked if one.answered] or ranked[:1]


def _rows(tables: Iterator[pa.Table], wanted: set[int]) -> dict[int, pa.Table]:
    """Return the wanted rows of the whole, each a table."""
    rows: dict[int, pa.Table] = {}
    first = 0
    for table in tables:
        for row in range(first, first + table.num_rows):
            if row in wanted:
                rows[row] = table.take([row - first])  # a slice would hold the whole part
        first += table.num_rows
    return rows


def _rescored(table: pa.Table, score: NDArray[np.float64]) -> pa.Table:
    """Give rows another ``score (n,)``, and their candidates scores in the same proportion."""
    own = table["score"].to_numpy().astype(np.float64)
    known = own > 0
    factor = np.divide(score, own, out=np.ones(len(own)), where=known)
    score = np.where(known, score, own)
    table = _with(table, "score", pa.array(score, type=pa.float32(), from_pandas=True))
    candidates = table["candidates"].combine_chunks()
    lengths = candidates.value_lengths().fill_null(0).to_numpy()
    flat = candidates.flatten()
    values = flat.flatten()
    place = flat.type.get_field_index("score")
    values[place] = pa.array(values[place].to_numpy() * np.repeat(factor, lengths), type=pa.float32())
    rescored = pa.ListArray.from_arrays(
        pa.array(offsets_of(lengths), type=pa.int32()),
        pa.StructArray.from_arrays(values, fields=list(flat.type)),
        type=candidates.type,
        mask=candidates.is_null(),
    )
    return _with(table, "candidates", rescored)


def _with(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    place = table.column_names.index(name)
    return table.set_column(place, table.schema.field(name), values)
