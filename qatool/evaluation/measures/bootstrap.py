"""Bootstrap intervals of means (Efron 1979, percentile method), for any number of rows.

EM and F1 have few distinct values, so a resample is one draw from the multinomial distribution of their counts. That
is the same distribution as drawing rows, at a cost that does not grow with the number of rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SEED = 20261122
_LEVELS = (2.5, 97.5)
_DRAWS_AT_ONCE = 4_000_000


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


def resampled_means(values: NDArray[np.float64], resamples: int) -> NDArray[np.float64]:
    """Return the means of bootstrap resamples: ``(resamples,)``; the same values give the same means.

    :param values: ``(n,)``
    """
    distinct, counts = np.unique(values.round(12), return_counts=True)
    generator = np.random.default_rng(SEED)
    size = len(values)
    step = max(1, _DRAWS_AT_ONCE // len(distinct))
    means = [
        generator.multinomial(size, counts / size, size=min(step, resamples - done)) @ distinct / size
        for done in range(0, resamples, step)
    ]
    return np.concatenate(means)


def interval(values: NDArray[np.float64], resamples: int) -> Interval | None:
    """Return the 95 % interval of the mean of ``values (n,)``, ``None`` if there are none."""
    if not len(values):
        return None
    low, high = np.percentile(resampled_means(values, resamples), _LEVELS)
    return Interval(float(low), float(high))
