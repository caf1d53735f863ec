"""Detect logits that are far flatter than usual: very rarely, OpenVINO has been seen to return noise for a batch.

The logits of a window that a model has read are spread over a wide range, from the most to the least likely token.
The logits of a batch that went wrong lie close together, whatever it holds. ``docs/backends.md`` says what is known
about it.
"""

from __future__ import annotations

import statistics
import threading
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_FLAT = 1 / 3
"""Share of the usual spread below which logits are flat: windows of real texts had at least 0.48 of it, in whatever
language, noise had a tenth."""
_KEPT = 65
"""How many batches are remembered: the usual spread is the median of those of their widest windows."""


class FlatLogits:
    """Compares the spread of logits with that of the batches before; may be used by several threads.

    :param usual: the spread to begin with, that of some windows that were read first
    """

    def __init__(self, usual: float) -> None:
        self._widest = deque([usual], maxlen=_KEPT)
        self._lock = threading.Lock()

    def are_flat(self, logits: Sequence[NDArray[np.float32]], lengths: NDArray[np.int64]) -> bool:
        """Return whether any window of a batch has less than a third of the usual spread; if none has, remember it.

        :param logits: the start and the end logits, ``(b, t)`` each
        :param lengths: ``(b,)``: tokens of each window
        """
        found = spreads(logits, lengths)
        if not np.isfinite(found).all():
            return False  # infinite scores and NaN are dealt with where spans are searched
        with self._lock:
            is_flat = bool(found.min(initial=np.inf) < _FLAT * statistics.median(self._widest))
            if not is_flat:
                self._note(found)
        return is_flat

    def confirm(self, logits: Sequence[NDArray[np.float32]], lengths: NDArray[np.int64]) -> None:
        """Remember a batch that is rightly flat, so that batches like it soon count as usual."""
        with self._lock:
            self._note(spreads(logits, lengths))

    def _note(self, found: NDArray[np.float32]) -> None:
        self._widest.append(float(found.max(initial=0.0)))


def spreads(logits: Sequence[NDArray[np.float32]], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the spread ``(b,)`` of the logits of each window: largest less smallest, the lesser of starts and ends.

    :param logits: the start and the end logits, ``(b, t)`` each
    :param lengths: ``(b,)``: tokens of each window
    """
    there = np.arange(logits[0].shape[1]) < lengths[:, None]
    with np.errstate(invalid="ignore"):
        sides = [
            np.max(side, axis=1, where=there, initial=-np.inf) - np.min(side, axis=1, where=there, initial=np.inf)
            for side in logits
        ]
        found: NDArray[np.float32] = np.minimum(*sides)
    return found
