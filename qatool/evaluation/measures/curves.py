"""What a threshold would do: the official no-answer analysis of SQuAD 2.0, and precision and recall by score.

Source: ``find_best_thresh`` and ``make_precision_recall_eval`` of the official evaluation script 2.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Threshold(NamedTuple):
    """The best a no-answer threshold can do."""

    value: float
    """Mean score, in per cent."""
    threshold: float
    """No answer is decided above it."""


class PrecisionRecall(NamedTuple):
    """Precision and recall of the answers kept, from the strictest threshold to the loosest; ``p`` points."""

    threshold: NDArray[np.float64]
    """``(p,)``: the least confidence (or the highest no-answer score) that is kept."""
    precision: NDArray[np.float64]
    """``(p,)``"""
    recall: NDArray[np.float64]
    """``(p,)``"""
    kept: NDArray[np.int64]
    """``(p,)``: answers kept."""
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
    """Return the best mean score any threshold gives, and the first threshold that does.

    As in the script, a threshold may fall between rows of equal no-answer score, in the order they stand in.

    :param scores: ``(n,)``, EM or F1 of the best text
    :param no_answer_score: ``(n,)``
    :param answered: ``(n,)``: whether there is a best text
    :param rejected: ``(n,)``: rows that cannot be right
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

    The threshold lies half-way between the last score it keeps and the first it does not: the middle of the gap
    serves new data best. Of equally good ones, the one that answers most.
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
    """Return the threshold half-way between two no-answer scores, that tells them apart in single precision, too."""
    middle = float(below + above) / 2
    return middle if np.float32(middle) < np.float32(above) else float(below)


def threshold_text(threshold: float) -> str:
    """Return a threshold for the screen: with the digits that single precision has, in which it is compared."""
    return str(np.float32(threshold))


def precision_recall(
    correct: NDArray[np.float64], doubt: NDArray[np.float64], *, has_answer: NDArray[np.bool_]
) -> PrecisionRecall:
    """Keep answers in order of rising doubt; a point wherever a threshold can stand.

    :param correct: ``(n,)``: EM or F1 of the best text
    :param doubt: ``(n,)``: no-answer score, or minus the answer's score
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
    """Return at most ``points`` points of a curve, evenly spread over the answers kept."""
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
