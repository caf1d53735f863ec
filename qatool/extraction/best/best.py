"""``--best-per question``: keep only the best of all documents' answers to a question."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from qatool.extraction.answering.gather import PickedRows
from qatool.extraction.answering.sample import Sample
from qatool.windows.ragged import offsets_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from numpy.typing import NDArray

    from qatool.extraction.best.ranking import Ranking
    from qatool.spans.joint import JointScores

ROWS_AT_ONCE = 1_024
"""Rows of each table yielded, at most."""


class _Standing(NamedTuple):
    """The rank of a row: answered before unanswered, then by value, then the earlier row first."""

    answered: bool
    value: float
    """The margin of the answer where scores are joint, else its score."""
    earlier: int
    """Minus the row's position in the whole input, so that the earlier of two rows compares as the greater."""

    @property
    def row(self) -> int:
        return -self.earlier


@dataclass
class _Question:
    """The best answers to a question among the rows seen so far."""

    place: int
    """The position of the question: among all questions with a ranking, else among those seen so far."""
    best: list[_Standing] = field(default_factory=list)
    """The best rows, as a heap with the worst of them first."""
    mass: float = -np.inf
    """The log mass of the spans of all documents together; see :class:`JointScores`."""


@dataclass(frozen=True, kw_only=True)
class BestAnswers:
    """The best rows of each question."""

    questions: int
    """How many questions were asked."""
    answered: int
    """How many of the questions any document answers."""
    tables: Iterator[pa.Table]
    """The best rows in the order of the questions, then the rejected rows."""


def best_per_question(
    tables: Callable[[], Iterator[pa.Table]],
    *,
    top_k: int,
    joint: JointScores | None = None,
    ranking: Ranking | None = None,
) -> BestAnswers:
    """Return the ``top_k`` best rows of each question.

    Only rows with an answer are kept, ordered by ``score``; a question that no document answers keeps its single best
    row, without an answer. Rejected rows are kept as they are, at the end. Two passes are made over ``tables``, and
    only the best and the rejected rows are held in memory; a ranking holds 4 or 8 bytes more for each row.

    :param tables: returns the tables of the parts, from the start at every call
    :param joint: turns ``score`` into the probability of a span among the spans of all documents; ``None``: scores
        stay as they are
    :param ranking: which question each row answers and, where scores are joint, its log prior; ``None``: questions
        come in order of their first appearance, without priors
    """
    # Questions with the same id but different words are two questions; so are, with a ranking, two equal ones.
    questions: dict[Hashable, _Question] = {}
    rejected: list[int] = []
    first = 0
    for table in tables():
        prior = None if ranking is None else ranking.prior[first : first + table.num_rows]
        value, mass = _values(table, joint, prior)
        columns = (table[name].to_pylist() for name in ("question_id", "question", "error"))
        answered = table["answer"].is_valid().to_pylist()
        for at, (question_id, question, error) in enumerate(zip(*columns, strict=True)):
            row = first + at
            if error is not None:
                rejected.append(row)
                continue
            place = len(questions) if ranking is None else ranking.question(row)
            named = (question_id, question) if ranking is None else place
            held = questions.setdefault(named, _Question(place))
            held.mass = float(np.logaddexp(held.mass, mass[at]))
            standing = _Standing(answered[at], float(value[at]), -row)
            if len(held.best) < top_k:
                heapq.heappush(held.best, standing)
            else:
                heapq.heappushpop(held.best, standing)
        first += table.num_rows
    in_order = sorted(questions.values(), key=lambda held: held.place)
    return BestAnswers(
        questions=len(in_order),
        answered=sum(any(one.answered for one in held.best) for held in in_order),
        tables=_best_rows(tables, in_order, rejected, joint),
    )


def _best_rows(
    tables: Callable[[], Iterator[pa.Table]],
    questions: list[_Question],
    rejected: list[int],
    joint: JointScores | None,
) -> Iterator[pa.Table]:
    """Yield the best rows of each question, then the rejected rows."""
    chosen = [(kept.row, kept.value, held.mass) for held in questions for kept in _chosen(held.best)]
    best = np.array([row for row, _, _ in chosen], dtype=np.int64)
    margin, mass_of_all = (np.array([one[place] for one in chosen], dtype=np.float64) for place in (1, 2))
    last = np.array(rejected, dtype=np.int64)
    rows = PickedRows(tables(), np.sort(np.concatenate([best, last])))
    for some in _slices(len(best)):
        found = rows.take(best[some])
        yield found if joint is None else _rescored(found, joint.score(margin[some], mass_of_all[some]))
    for some in _slices(len(last)):
        yield rows.take(last[some])


def samples_of(table: pa.Table, most: int, *, snippet: int | None) -> list[Sample]:
    """Return the first ``most`` answers of a table as samples to show, each in its snippet.

    The contexts are no longer available: without snippets, the answers stand alone.

    :param snippet: characters on either side of the answer in the column ``snippet``; ``None``: no such column
    """
    columns = ["id", "question", "answer", "answer_start", "score", *(["snippet"] if snippet is not None else [])]
    answered = table.filter(table["answer"].is_valid()).select(columns)
    found = []
    for row in answered.slice(0, most).to_pylist():
        start = min(snippet or 0, row["answer_start"])
        sample = Sample(
            id=row["id"],
            question=row["question"] or "",
            context=row["answer"] if snippet is None else row["snippet"],
            answer_start=start,
            answer_end=start + len(row["answer"]),
            score=row["score"],
        )
        found.append(sample)
    return found


def _slices(count: int) -> Iterator[slice]:
    return (slice(first, first + ROWS_AT_ONCE) for first in range(0, count, ROWS_AT_ONCE))


def _values(
    table: pa.Table, joint: JointScores | None, prior: NDArray[np.float32] | None
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return the value by which each row is ranked, and the log mass of its spans, ``(n,)`` each.

    :param prior: the log prior of each row, ``(n,)`` or shorter: rejected rows at the very end have none
    """
    score = table["score"].to_numpy()
    if joint is None:
        return np.nan_to_num(score, nan=-1.0), np.zeros(len(score))
    margin, mass = joint.margins(score, table["no_answer_score"].to_numpy())
    if prior is not None:
        margin[: len(prior)] += prior
        mass[: len(prior)] += prior
    return margin, mass


def _chosen(held: list[_Standing]) -> list[_Standing]:
    """Return the answered rows, best first, or the single best of the unanswered ones."""
    ranked = sorted(held, reverse=True)
    return [one for one in ranked if one.answered] or ranked[:1]


def _rescored(table: pa.Table, score: NDArray[np.float64]) -> pa.Table:
    """Return the table with other scores ``score (n,)``; the scores of candidates change in the same proportion."""
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
