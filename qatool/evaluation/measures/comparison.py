"""Compare two sets of answers to the same questions: which is better, and which answers changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qatool.errors import InputError
from qatool.evaluation.measures.bootstrap import interval, resampled_means
from qatool.files.sources.rows import quoted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qatool.evaluation.measures.judging import Judged


def compare(first: Judged, other: Judged, *, resamples: int, partial: bool) -> dict[str, Any]:
    """Return the gain of the other answers, by a paired bootstrap over questions, and each answer that changed.

    :param resamples: resamples of the bootstrap
    :param partial: whether to compare only the questions that both answer, instead of raising an error
    :raises InputError: questions of the first are missing from the other, or all are
    """
    place = {name: row for row, name in enumerate(other.answers.ids)}
    at = np.array([place.get(name, -1) for name in first.answers.ids], dtype=np.int64)
    rows = np.flatnonzero(at >= 0)
    if not len(rows) or (len(rows) < len(at) and not partial):
        lost = quoted(first.answers.ids[int(np.flatnonzero(at < 0)[0])])
        raise InputError(
            f"--compare: {len(at) - len(rows):,} of {len(at):,} answers are not in the other file, the first {lost}; "
            "add --partial to compare what both answer"
        )
    there = at[rows]
    gains = {
        name: _gain(100 * (new[there] - old[rows]), resamples)
        for name, old, new in zip(("exact", "f1"), first.decided, other.decided, strict=True)
    }
    return {"total": len(rows), **gains, **_changes(first, other, rows, there)}


def _gain(differences: NDArray[np.float64], resamples: int) -> dict[str, Any]:
    """Return the mean of paired differences, its interval, and the share of resamples with a mean above 0."""
    means = resampled_means(differences, resamples)
    return {
        "gain": float(differences.mean()),
        "interval": interval(differences, resamples),
        "better_share": float(np.mean(means > 0)),
    }


def _changes(first: Judged, other: Judged, rows: NDArray[np.int64], there: NDArray[np.int64]) -> dict[str, Any]:
    changed = []
    for row, new in zip(rows.tolist(), there.tolist(), strict=True):
        before, after = first.answers.decided[row] or None, other.answers.decided[new] or None
        if before != after:
            changed.append(
                {
                    "id": first.answers.ids[row],
                    "before": before,
                    "after": after,
                    "exact_before": int(first.decided.exact[row]),
                    "exact_after": int(other.decided.exact[new]),
                    "f1_before": float(first.decided.f1[row]),
                    "f1_after": float(other.decided.f1[new]),
                }
            )
    moves = [(change["exact_before"], change["exact_after"]) for change in changed]
    return {
        "changed": len(changed),
        "became_right": moves.count((0, 1)),
        "became_wrong": moves.count((1, 0)),
        "changes": changed,
    }
