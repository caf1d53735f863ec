"""Figures by slices of the questions, which show what kinds of questions, answers and documents are hard."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from qatool.evaluation.measures.bootstrap import interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from qatool.evaluation.measures.scoring import Scores

LARGEST = 20
"""Most values of a column with a slice of their own; the other values share one."""
REST = "(other values)"

_WORD = re.compile(r"\b(?:how (?:many|much)|how|what|whom?|whose|when|where|which|why)\b")
_SAME = {"whom": "who", "whose": "who", "how much": "how many"}


def question_words(questions: Iterable[str | None]) -> list[str | None]:
    """Return the first question word of each question; ``other`` if it has none, ``None`` for a missing question."""
    return [None if text is None else _question_word(text) for text in questions]


def _question_word(text: str) -> str:
    found = _WORD.search(" ".join(text.lower().split()))
    return "other" if found is None else _SAME.get(found.group(), found.group())


def answer_lengths(references: Iterable[tuple[str, ...]]) -> list[str | None]:
    """Return the length in words of each question's first reference, as a range; ``no answer`` without one."""
    return [_range(len(texts[0].split()), (1, 3, 7, 15), "word") if texts else "no answer" for texts in references]


def window_counts(n_windows: NDArray[np.float64]) -> list[str | None]:
    """Return the number of windows of each example, as a range; ``None`` if unknown.

    :param n_windows: ``(n,)``: numbers of windows, NaN if unknown
    """
    ranges = (1, 3, 9, 29)
    return [None if count != count else _range(int(count), ranges, "window") for count in n_windows.tolist()]


def _range(number: int, ends: Sequence[int], noun: str) -> str:
    first = 0
    for end in ends:
        if number <= end:
            return f"{end} {noun}" if end == 1 else f"{first}-{end} {noun}s"
        first = end + 1
    return f"{first}+ {noun}s"


def by_number(slices: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the figures of ranges in the order of their numbers, after those without a number."""
    return sorted(slices, key=lambda one: int((re.match(r"\d+", one["value"]) or ["-1"])[0]))


def column_values(values: Iterable[Any]) -> list[str | None]:
    """Return the values of a column as text, ``null`` for missing ones."""
    return ["null" if value is None else value if isinstance(value, str) else str(value) for value in values]


def sliced(labels: Sequence[str | None], scores: Scores, resamples: int) -> list[dict[str, Any]]:
    """Return figures for each label, the most frequent first.

    :param labels: labels of the ``n`` answers; an answer with ``None`` is in no slice
    :param resamples: resamples of the bootstrap for each interval
    """
    known = np.array([row for row, label in enumerate(labels) if label is not None], dtype=np.int64)
    if not len(known):
        return []
    names, place = np.unique(np.array([labels[row] for row in known], dtype=object), return_inverse=True)
    order = np.argsort(-np.bincount(place), kind="stable")
    rank = np.empty(len(names), dtype=np.int64)
    rank[order] = np.arange(len(names))
    bucket = np.minimum(rank[place], LARGEST)
    found = []
    for number in range(min(len(names), LARGEST + 1)):
        rows = known[bucket == number]
        name = REST if number == LARGEST and len(names) > LARGEST + 1 else str(names[order[number]])
        exact, f1 = 100 * scores.exact[rows], 100 * scores.f1[rows]
        found.append(
            {
                "value": name,
                "total": len(rows),
                "exact": float(exact.mean()),
                "exact_interval": interval(exact, resamples),
                "f1": float(f1.mean()),
                "f1_interval": interval(f1, resamples),
            }
        )
    return found
