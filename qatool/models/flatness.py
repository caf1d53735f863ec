"""Tell logits that are flatter by far than all before: OpenVINO has been seen to give noise for a batch, very rarely.

The logits of a window that a model has read spread over many points, from the likeliest token to the least. Those of
a batch that went wrong lie close together, whatever it holds. ``docs/backends.md`` tells what is known of it.
"""

from __future__ import annotations

import statistics
import threading
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FLAT = 1 / 3
"""Of the usual spread: batches of whole documents have nine tenths of it at least, noise had a tenth."""
_KNOWN, _KEPT = 8, 65
"""Batches after which it is known what is usual, and those of which it is the median."""


class FlatLogits:
    """Knows how far the logits of the batches before spread; may be asked by several threads."""

    def __init__(self) -> None:
        self._spreads: deque[float] = deque(maxlen=_KEPT)
        self._lock = threading.Lock()

    def are_flat(self, logits: NDArray[np.float32], lengths: NDArray[np.int64]) -> bool:
        """Whether every window of a batch spreads less than a third of what is usual; if not, take note of it.

        :param logits: ``(b, t)``
        :param lengths: ``(b,)``: tokens of each window
        """
        there = np.arange(logits.shape[1]) < lengths[:, None]
        highest = np.max(logits, axis=1, where=there, initial=-np.inf)
        lowest = np.min(logits, axis=1, where=there, initial=np.inf)
        with np.errstate(invalid="ignore"):
            spread = float((highest - lowest).max(initial=0.0))
        if not np.isfinite(spread):
            return False  # what is no number is dealt with where spans are searched
        with self._lock:
            is_flat = len(self._spreads) >= _KNOWN and spread < _FLAT * statistics.median(self._spreads)
            if not is_flat:
                self._spreads.append(spread)
        return is_flat

    def confirm(self) -> None:
        """Take note that a batch is flat by its nature, so that those like it soon are usual."""
        with self._lock:
            self._spreads.append(0.0)
