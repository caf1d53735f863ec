"""All figures of an evaluation, with the names of the official SQuAD scripts where they have one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qatool.evaluation.measures.bootstrap import interval
from qatool.evaluation.measures.curves import best_threshold, precision_recall, thinned
from qatool.evaluation.measures.reliability import calibration_error, reliability_bins
from qatool.evaluation.measures.scoring import hit_ranks
from qatool.evaluation.measures.slices import (
    answer_lengths,
    by_number,
    column_values,
    question_words,
    sliced,
    window_counts,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from qatool.evaluation.measures.judging import Judged

CURVE_POINTS = 101
RECALL_RANKS = (1, 2, 3, 5, 10, 20, 50, 100)
_RANGES = {"answer_length", "windows"}
"""Names of the slices that are ranges of numbers."""


def figures(judged: Judged, *, resamples: int, slice_by: Sequence[str] = ()) -> dict[str, Any]:
    """Return the figures of judged answers; means are in per cent, scores and errors in [0, 1].

    :param resamples: resamples of the bootstrap for each interval
    :param slice_by: columns to slice by, in addition to the built-in slices
    """
    answers = judged.answers
    found = {
        **_official(judged),
        "rules": judged.rules,
        "answered": int(np.count_nonzero(judged.answered)),
        "no_answer": int(np.count_nonzero(~judged.answered & ~answers.rejected)),
        "rejected": int(np.count_nonzero(answers.rejected)),
        "without_reference": judged.without_reference,
        "without_answer": judged.without_answer,
        "intervals": _intervals(judged, resamples),
        "resamples": resamples,
    }
    if answers.no_answer_score is not None:
        found |= _thresholds(judged, answers.no_answer_score)
    if answers.score is not None:
        found |= _confidence(judged, answers.score)
    if answers.candidates:
        found["recall_at_k"] = _recall_at_k(judged)
    found["slices"] = {
        name: sliced(labels, judged.decided, resamples) for name, labels in _labels(judged, slice_by).items()
    }
    for name in _RANGES & found["slices"].keys() - set(slice_by):
        found["slices"][name] = by_number(found["slices"][name])
    return found


def _groups(judged: Judged) -> dict[str, NDArray[np.bool_]]:
    groups = {"HasAns_": judged.has_answer, "NoAns_": ~judged.has_answer}
    return {name: rows for name, rows in groups.items() if rows.any()}


def _official(judged: Judged) -> dict[str, Any]:
    exact, f1 = judged.decided
    found: dict[str, Any] = {"exact": _per_cent(exact), "f1": _per_cent(f1), "total": len(exact)}
    for name, rows in _groups(judged).items():
        found[f"{name}exact"] = _per_cent(exact[rows])
        found[f"{name}f1"] = _per_cent(f1[rows])
        found[f"{name}total"] = int(np.count_nonzero(rows))
    if judged.rules == "squad1.1":
        found["exact_match"] = found["exact"]
    return found


def _per_cent(values: NDArray[np.float64]) -> float:
    # Summed sequentially, as by the official script: numpy's pairwise sum differs in the last digit.
    return 100.0 * float(sum(values.tolist())) / len(values)


def _intervals(judged: Judged, resamples: int) -> dict[str, Any]:
    exact, f1 = (100 * values for values in judged.decided)
    found = {"exact": interval(exact, resamples), "f1": interval(f1, resamples)}
    for name, rows in _groups(judged).items():
        found[f"{name}exact"] = interval(exact[rows], resamples)
        found[f"{name}f1"] = interval(f1[rows], resamples)
    return found


def _thresholds(judged: Judged, no_answer_score: NDArray[np.float64]) -> dict[str, Any]:
    """Return the best no-answer thresholds with their scores, and the official areas under precision and recall."""
    found: dict[str, Any] = {}
    for name, values in zip(("exact", "f1"), judged.best, strict=True):
        best = best_threshold(
            values,
            no_answer_score,
            answered=judged.has_best,
            has_answer=judged.has_answer,
            rejected=judged.answers.rejected,
        )
        found |= {f"best_{name}": best.value, f"best_{name}_thresh": best.threshold}
    oracle = judged.has_answer.astype(np.float64)
    for name, values in (*zip(("exact", "f1"), judged.best, strict=True), ("oracle", oracle)):
        curve = precision_recall(values, no_answer_score, has_answer=judged.has_answer)
        found[f"pr_{name}_ap"] = 100.0 * curve.area
    return found


def _confidence(judged: Judged, score: NDArray[np.float64]) -> dict[str, Any]:
    """Return precision and recall by score, and the calibration error; empty if there are no scores."""
    rows = ~np.isnan(score)
    if not rows.any():
        return {}
    exact = np.where(judged.has_answer, judged.best.exact, 0.0)
    curve = precision_recall(exact[rows], -score[rows], has_answer=judged.has_answer[rows])
    curve = curve._replace(threshold=-curve.threshold)
    bins = reliability_bins(score[rows], exact[rows])
    found = {
        "precision_recall": {"area": curve.area, "points": thinned(curve, CURVE_POINTS)},
        "ece": calibration_error(bins),
        "reliability": [one._asdict() for one in bins],
    }
    if (given := rows & judged.answered).any():
        found["answered_ece"] = calibration_error(reliability_bins(score[given], exact[given]))
    return found


def _recall_at_k(judged: Judged) -> dict[str, float]:
    """Return the share of answerable questions with an exact match among the first ``k`` candidates, in per cent."""
    rows = np.flatnonzero(judged.has_answer)
    if not len(rows):
        return {}
    longest = max(int(chunk.value_lengths().to_numpy().max()) for chunk in judged.answers.candidates if len(chunk))
    if longest == 1:
        return {"1": _per_cent(judged.best.exact[rows])}
    ranks = hit_ranks(judged.answers.candidate_lists(), judged.expected, judged.best.exact > 0)[rows]
    wanted = [k for k in RECALL_RANKS if k < longest] + [longest]
    return {str(k): 100.0 * float(np.mean((ranks >= 0) & (ranks < k))) for k in wanted}


def _labels(judged: Judged, slice_by: Sequence[str]) -> dict[str, list[str | None]]:
    labels = {
        "question_word": question_words(judged.questions),
        "answer_length": answer_lengths(judged.references),
    }
    if judged.answers.n_windows is not None:
        labels["windows"] = window_counts(judged.answers.n_windows)
    return labels | {name: column_values(judged.extra[name]) for name in slice_by}
