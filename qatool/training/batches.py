"""Which windows each optimiser step reads: of like length, in an order that a seed decides."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

POOL_STEPS = 50
"""So many steps' windows are drawn together and sorted by length: little padding, and still a shuffled order."""


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """The windows of every optimiser step of a run, each epoch shuffled anew and drawn when it begins.

    :param lengths: ``(n,)``: tokens of each window
    :param weights: ``(n,)``: how often a window is read in an epoch; what is left of a whole number is a chance
    :param batch_size: most windows a step; some more where a weight is no whole number
    :param epochs: may end within an epoch
    :param parts: the run is this many parts of equally many steps; steps are made smaller for it
    """

    lengths: NDArray[np.int64]
    weights: NDArray[np.float64]
    batch_size: int
    epochs: float
    parts: int
    seed: int
    _drawn: dict[int, list[NDArray[np.int64]]] = field(default_factory=dict)

    @cached_property
    def steps(self) -> int:
        """How many steps the run has."""
        per_epoch = max(1, ceil(float(self.weights.sum()) / self.batch_size))
        return self.parts * ceil(self.epochs * per_epoch / self.parts)

    def _first(self, epoch: int) -> int:
        """Return the first step of an epoch."""
        # Less a hair: the steps of an epoch need not be a whole number.
        return ceil(epoch * self.steps / self.epochs - 1e-6)

    def rows(self, step: int) -> NDArray[np.int64]:
        """Return the windows of a step, longest first: ``(b,)``."""
        epoch = int(step * self.epochs / self.steps)
        while step >= self._first(epoch + 1):
            epoch += 1
        first = self._first(epoch)
        if epoch not in self._drawn:
            self._drawn.clear()
            self._drawn[epoch] = self._draw(epoch, self._first(epoch + 1) - first)
        return self._drawn[epoch][step - first]

    def _draw(self, epoch: int, steps: int) -> list[NDArray[np.int64]]:
        """Return the windows of an epoch, cut into ``steps``."""
        generator = np.random.default_rng([self.seed, epoch])
        times = np.floor(self.weights + generator.random(len(self.weights))).astype(np.int64)
        order = generator.permutation(np.repeat(np.arange(len(times)), times))
        if len(order) < steps:
            # So few that some steps would have none: they are read again, if none was drawn, one of all.
            order = np.resize(order if len(order) else generator.permutation(len(times))[:1], steps)
        drawn: list[NDArray[np.int64]] = []
        # Equal shares up to one window, whatever the number of steps.
        bounds = np.linspace(0, len(order), steps + 1).astype(np.int64)
        for pool in range(0, steps, POOL_STEPS):
            last = min(pool + POOL_STEPS, steps)
            rows = order[bounds[pool] : bounds[last]]
            rows = rows[np.argsort(-self.lengths[rows], kind="stable")]
            cut = np.split(rows, bounds[pool + 1 : last] - bounds[pool])
            drawn += [cut[place] for place in generator.permutation(len(cut))]
        return drawn


@dataclass(frozen=True, kw_only=True)
class Grain:
    """Sizes that batches are filled up to, so that there are few shapes of them."""

    rows: int = 1
    tokens: int = 1

    def width(self, longest: int, limit: int) -> int:
        """Return how many tokens windows are filled up to, the longest of which has so many.

        :param limit: no window is longer, and no model need read longer ones
        """
        return min(-(-longest // self.tokens) * self.tokens, max(limit, longest))

    def height(self, windows: int) -> int:
        """Return how many rows windows are filled up to: none where they are few."""
        return windows if windows < self.rows // 2 else -(-windows // self.rows) * self.rows


def micro_batches(
    rows: NDArray[np.int64], lengths: NDArray[np.int64], batch_tokens: int, grain: Grain | None = None
) -> Iterator[NDArray[np.int64]]:
    """Cut the windows of a step, longest first, into batches of at most ``batch_tokens`` with what fills them up.

    A window longer than that stands alone.
    """
    grain = grain or Grain()
    limit = int(lengths.max(initial=1))
    first = 0
    while first < len(rows):
        size = max(1, batch_tokens // max(1, grain.width(int(lengths[rows[first]]), limit)))
        # Filled up, it is to fit as well: whole grains, or so few that they are none.
        size = size // grain.rows * grain.rows if size >= grain.rows else min(size, max(1, grain.rows // 2 - 1))
        yield rows[first : first + size]
        first += size
