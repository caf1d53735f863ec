"""Calibration of scores: reliability bins and the expected calibration error.

A score is the probability that the best span is right, whatever the decision. A span is right if it is an exact
match; the best span of an unanswerable question never is.

Source: Naeini et al. (2015) with bins of equal mass instead of equal width (Nixon et al., 2019).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_BINS = 15


class Bin(NamedTuple):
    """A group of answers with similar scores."""

    total: int
    """Number of answers."""
    confidence: float
    """Mean score, in [0, 1]."""
    exact: float
    """Share of exact matches, in [0, 1]."""
    lowest: float
    """Lowest score."""
    highest: float
    """Highest score."""


def reliability_bins(
    confidence: NDArray[np.float64], exact: NDArray[np.float64], *, n_bins: int = N_BINS
) -> list[Bin]:
    """Return bins of equally many answers, sorted by score.

    :param confidence: ``(n,)``: scores, in [0, 1]
    :param exact: ``(n,)``: EM of the best spans, 0 for unanswerable questions
    """
    order = np.argsort(confidence, kind="stable")
    bins = []
    for rows in np.array_split(order, n_bins):
        if len(rows):
            inside = confidence[rows]
            bins.append(
                Bin(
                    total=len(rows),
                    confidence=float(inside.mean()),
                    exact=float(exact[rows].mean()),
                    lowest=float(inside[0]),
                    highest=float(inside[-1]),
                )
            )
    return bins


def calibration_error(bins: list[Bin]) -> float:
    """Return the expected calibration error: the mean gap between score and EM, weighted by number of answers."""
    total = sum(one.total for one in bins)
    return sum(one.total * abs(one.confidence - one.exact) for one in bins) / max(1, total)
