"""EM and F1 of many answers, as in the official SQuAD scripts; each text is normalised only once.

The scripts differ in texts that normalise to nothing: 2.0 ignores such references and counts two empty texts as
equal, 1.1 gives two empty texts an F1 of 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from qatool.squad import normalize, word_f1

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from qatool.options import Rules


class Scores(NamedTuple):
    """EM and F1 of ``n`` answers, each in [0, 1]."""

    exact: NDArray[np.float64]
    """``(n,)``"""
    f1: NDArray[np.float64]
    """``(n,)``"""


class Expected(NamedTuple):
    """The correct answers to one question."""

    texts: tuple[str, ...]
    """The distinct references, normalised; an empty text if there is none."""
    has_answer: bool


def expected_answers(references: Iterable[tuple[str, ...]], rules: Rules) -> list[Expected]:
    """Return the correct answers to each question."""
    found = []
    for texts in references:
        distinct = tuple(dict.fromkeys(map(normalize, texts)))
        if rules == "squad2.0":
            distinct = tuple(filter(None, distinct))
        found.append(Expected(distinct or ("",), bool(texts)))
    return found


def score(texts: Iterable[str | None], expected: Sequence[Expected], rules: Rules) -> Scores:
    """Return EM and F1 of answers.

    :param texts: ``n`` answers, ``None`` or empty for "no answer"
    """
    # Two flat lists are quicker than a list of pairs.
    exact: list[float] = []
    f1: list[float] = []
    empty_f1 = float(rules == "squad2.0")
    for text, right in zip(texts, expected, strict=True):
        answer = normalize(text) if text else ""
        if answer in right.texts:
            exact.append(1.0)
            f1.append(1.0 if answer else empty_f1)
        else:
            exact.append(0.0)
            f1.append(max(word_f1(answer.split(), other.split()) for other in right.texts) if answer else 0.0)
    return Scores(np.array(exact), np.array(f1))


def hit_ranks(
    candidates: Iterable[list[str]], expected: Sequence[Expected], first_is_hit: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return the 0-based rank of the first candidate that is an exact match, or ``-1``: ``(n,)``.

    Unanswerable questions have no such candidate.

    :param candidates: ranked candidates of each question
    :param first_is_hit: ``(n,)``: whether the first candidate is an exact match
    """
    ranks = [
        -1 if not right.has_answer else 0 if hit else _first_match(texts, right.texts)
        for texts, right, hit in zip(candidates, expected, first_is_hit.tolist(), strict=True)
    ]
    return np.array(ranks, dtype=np.int64)


def _first_match(texts: list[str], right: tuple[str, ...]) -> int:
    return next((rank for rank, text in enumerate(texts) if normalize(text) in right), -1)
