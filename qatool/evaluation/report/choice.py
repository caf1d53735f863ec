"""Choose the answers that a report shows: the extremes, the failures, and some drawn at random."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qatool.evaluation.measures.judging import Judged
    from qatool.evaluation.reading.answers import AnswerSet

SEED = 20261122


class Group(NamedTuple):
    """Answers that are shown for one reason."""

    name: str
    title: str
    rows: list[int]
    total: int
    """How many answers belong to the group; ``rows`` are some of them."""


def choose(answers: AnswerSet, judged: Judged | None, *, most: int) -> list[Group]:
    """Return the groups of answers to show; a row may be in several.

    :param judged: the answers with their references, if there are any
    :param most: most answers of a group
    """
    answered = np.fromiter(map(bool, answers.decided), np.bool_, len(answers))
    none = ~answered & ~answers.rejected
    groups = []
    score = answers.score
    if score is not None:
        ranked = np.flatnonzero(answered & ~np.isnan(score))
        ranked = ranked[np.argsort(-score[ranked], kind="stable")]
        groups += [
            Group("certain", "most certain", ranked[:most].tolist(), len(ranked)),
            Group("uncertain", "least certain", ranked[::-1][:most].tolist(), len(ranked)),
        ]
    if judged is not None:
        groups.append(_wrong(answers, judged, most))
    groups += [
        _drawn("none", "no answer", np.flatnonzero(none), most),
        _first("rejected", "rejected", np.flatnonzero(answers.rejected), most),
        _drawn("random", "drawn at random", np.arange(len(answers)), most),
    ]
    return [group for group in groups if group.rows]


def _wrong(answers: AnswerSet, judged: Judged, most: int) -> Group:
    """Return the group of wrong decisions, the most confident first."""
    wrong = np.flatnonzero((judged.decided.exact == 0) & ~judged.answers.rejected)
    score = judged.answers.score
    if score is not None:
        wrong = wrong[np.argsort(-np.nan_to_num(score[wrong]), kind="stable")]
    place = {name: row for row, name in enumerate(answers.ids)}
    return Group("wrong", "wrong", [place[judged.answers.ids[row]] for row in wrong[:most].tolist()], len(wrong))


def _first(name: str, title: str, rows: NDArray[np.int64], most: int) -> Group:
    return Group(name, title, rows[:most].tolist(), len(rows))


def _drawn(name: str, title: str, rows: NDArray[np.int64], most: int) -> Group:
    """Return a group of rows drawn at random, always the same ones, in the order of the file."""
    if len(rows) > most:
        return Group(
            name, title, sorted(np.random.default_rng(SEED).choice(rows, most, replace=False).tolist()), len(rows)
        )
    return _first(name, title, rows, most)
