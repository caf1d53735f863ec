"""Decide which windows each optimiser step reads: windows of similar length, in an order that a seed decides."""

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
"""The windows of this many steps are sorted by length together, for little padding in a still shuffled order."""


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """The windows of every optimiser step of a run; each epoch is drawn and shuffled anew when it begins.

    :param lengths: ``(n,)``: tokens of each window
    :param weights: ``(n,)``: how often each window is read in an epoch; a fraction is the chance of another reading
    :param batch_size: most windows per step; there may be a few more where weights are not whole numbers
    :param epochs: number of epochs, which need not be whole
    :param parts: the run is divided into this many parts of equally many steps, for which steps are made smaller
    :param seed: decides the order of windows
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
        """The number of steps in the run."""
        per_epoch = max(1, ceil(float(self.weights.sum()) / self.batch_size))
        return self.parts * ceil(self.epochs * per_epoch / self.parts)

    def _first(self, epoch: int) -> int:
        """Return the index of the first step of an epoch."""
        # A little less, against rounding errors: the number of steps in an epoch need not be whole.
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
            # Too few windows for all steps: they are read again. If none was drawn at all, any one window is read.
            order = np.resize(order if len(order) else generator.permutation(len(times))[:1], steps)
        drawn: list[NDArray[np.int64]] = []
        # Steps differ by one window at most, whatever their number.
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
    """Sizes of which batch shapes are made multiples by padding, so that there are few different shapes."""

    rows: int = 1
    tokens: int = 1

    def width(self, longest: int, limit: int) -> int:
        """Return the number of tokens that the windows of a batch are padded to.

        :param longest: tokens of the longest window in the batch
        :param limit: tokens of the longest window of all, beyond which no batch is padded
        """
        return min(-(-longest // self.tokens) * self.tokens, max(limit, longest))

    def height(self, windows: int) -> int:
        """Return the number of rows that a batch of ``windows`` windows is padded to; very few are not padded."""
        return windows if windows < self.rows // 2 else -(-windows // self.rows) * self.rows


def micro_batches(
    rows: NDArray[np.int64], lengths: NDArray[np.int64], batch_tokens: int, grain: Grain | None = None
) -> Iterator[NDArray[np.int64]]:
    """Cut the windows of a step, longest first, into batches of at most ``batch_tokens`` tokens, padding included.

    A window longer than that is a batch of its own.
    """
    grain = grain or Grain()
    limit = int(lengths.max(initial=1))
    first = 0
    while first < len(rows):
        size = max(1, batch_tokens // max(1, grain.width(int(lengths[rows[first]]), limit)))
        # The batch must fit with its padded rows, too: whole grains of rows, or so few that they are not padded.
        size = size // grain.rows * grain.rows if size >= grain.rows else min(size, max(1, grain.rows // 2 - 1))
        yield rows[first : first + size]
        first += size
