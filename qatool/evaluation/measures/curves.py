"""Effects of thresholds: the official no-answer analysis of SQuAD 2.0, and precision and recall by score.

Source: ``find_best_thresh`` and ``make_precision_recall_eval`` of the official evaluation script 2.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Threshold(NamedTuple):
    """A no-answer threshold, and what it achieves."""

    value: float
    """Mean EM, mean F1 or precision at the threshold, in per cent."""
    threshold: float
    """Highest no-answer score at which an answer is given."""


class PrecisionRecall(NamedTuple):
    """Precision and recall of the answers kept at ``p`` thresholds, from the strictest to the loosest."""

    threshold: NDArray[np.float64]
    """``(p,)``: the lowest score (or highest no-answer score) of the answers kept."""
    precision: NDArray[np.float64]
    """``(p,)``"""
    recall: NDArray[np.float64]
    """``(p,)``"""
    kept: NDArray[np.int64]
    """``(p,)``: number of answers kept."""
    area: float
    """Area under the curve as a sum of steps (average precision)."""


def best_threshold(
    scores: NDArray[np.float64],
    no_answer_score: NDArray[np.float64],
    *,
    answered: NDArray[np.bool_],
    has_answer: NDArray[np.bool_],
    rejected: NDArray[np.bool_],
) -> Threshold:
    """Return the best mean score of any threshold, and the first threshold that reaches it.

    As in the official script, a threshold may fall between rows of equal no-answer score, in their given order.

    :param scores: ``(n,)``: EM or F1 of the best text
    :param no_answer_score: ``(n,)``
    :param answered: ``(n,)``: whether there is a best text
    :param has_answer: ``(n,)``: whether the question has an answer
    :param rejected: ``(n,)``: whether the row was rejected, and so cannot be right
    """
    gain = np.where(has_answer, scores, -(answered & ~rejected).astype(np.float64))
    order = np.argsort(no_answer_score, kind="stable")
    begin = float(np.count_nonzero(~has_answer & ~rejected))
    totals = np.cumsum(np.concatenate([[begin], gain[order]]))
    best = int(np.argmax(totals))
    threshold = 0.0 if best == 0 else float(no_answer_score[order[best - 1]])
    return Threshold(100.0 * float(totals[best]) / len(scores), threshold)


def applicable_threshold(
    scores: NDArray[np.float64],
    no_answer_score: NDArray[np.float64],
    *,
    answered: NDArray[np.bool_],
    has_answer: NDArray[np.bool_],
) -> Threshold:
    """Return the best mean score of a threshold that keeps rows of equal no-answer score together.

    The threshold lies half-way between the highest score it keeps and the lowest it does not, as the middle of the
    gap generalises best. Of equally good thresholds, the one that answers most questions is returned. Parameters are
    those of :func:`best_threshold`.
    """
    gain = np.where(has_answer, scores, -answered.astype(np.float64))
    order = np.argsort(no_answer_score, kind="stable")
    ordered = no_answer_score[order]
    totals = np.concatenate([[0.0], np.cumsum(gain[order])]) + np.count_nonzero(~has_answer)
    # A threshold is at least 0, so a no-answer score of 0 is always kept.
    allowed = np.concatenate([ordered[:1] > 0, ordered[1:] != ordered[:-1], [True]])
    places = np.flatnonzero(allowed)
    best = int(places[len(places) - 1 - np.argmax(totals[places][::-1])])
    below = ordered[best - 1] if best else 0.0
    above = ordered[best] if best < len(ordered) else 1.0
    return Threshold(100.0 * float(totals[best]) / len(scores), between(below, above))


def between(below: float, above: float) -> float:
    """Return the threshold half-way between two no-answer scores, or ``below`` if single precision is too coarse."""
    middle = float(below + above) / 2
    return middle if np.float32(middle) < np.float32(above) else float(below)


def threshold_text(threshold: float) -> str:
    """Return a threshold as text, with the digits of single precision, in which it is compared."""
    return str(np.float32(threshold))


def precision_recall(
    correct: NDArray[np.float64], doubt: NDArray[np.float64], *, has_answer: NDArray[np.bool_]
) -> PrecisionRecall:
    """Return precision and recall of the answers with least doubt, with a point for each distinct doubt.

    :param correct: ``(n,)``: EM or F1 of the best text
    :param doubt: ``(n,)``: no-answer score, or the answer's score negated
    :param has_answer: ``(n,)``: whether the question has an answer
    """
    order = np.argsort(doubt, kind="stable")
    ordered = doubt[order]
    kept = np.arange(1, len(order) + 1)
    true = np.cumsum(np.where(has_answer, correct, 0.0)[order])
    last = np.append(ordered[1:] != ordered[:-1], True)
    precision = true[last] / kept[last]
    recall = true[last] / max(1, np.count_nonzero(has_answer))
    area = float(np.sum(precision * np.diff(recall, prepend=0.0)))
    return PrecisionRecall(ordered[last], precision, recall, kept[last], area)


def thinned(curve: PrecisionRecall, points: int) -> list[dict[str, float]]:
    """Return at most ``points`` points of a curve, evenly spread over its points."""
    wanted = np.linspace(0, len(curve.kept) - 1, min(points, len(curve.kept))).round().astype(np.int64)
    return [
        {
            "threshold": float(curve.threshold[i]),
            "precision": float(curve.precision[i]),
            "recall": float(curve.recall[i]),
            "kept": int(curve.kept[i]),
        }
        for i in wanted
    ]
