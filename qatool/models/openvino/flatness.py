"""Tell logits that are flatter by far than usual: OpenVINO has been seen to give noise for a batch, very rarely.

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
    from collections.abc import Sequence

    from numpy.typing import NDArray

_FLAT = 1 / 3
"""Of the usual spread: windows of real texts, in whatever language, had 0.48 of it at least, noise had a tenth."""
_KEPT = 65
"""Batches of whose widest windows the median is what is usual."""


class FlatLogits:
    """Knows how far the logits of the batches before spread; may be asked by several threads.

    :param usual: how far those of some windows do that were read first
    """

    def __init__(self, usual: float) -> None:
        self._widest = deque([usual], maxlen=_KEPT)
        self._lock = threading.Lock()

    def are_flat(self, logits: Sequence[NDArray[np.float32]], lengths: NDArray[np.int64]) -> bool:
        """Whether any window of a batch spreads less than a third of what is usual; if not, take note of it.

        :param logits: of the starts and of the ends: ``(b, t)`` each
        :param lengths: ``(b,)``: tokens of each window
        """
        found = spreads(logits, lengths)
        if not np.isfinite(found).all():
            return False  # what is no number is dealt with where spans are searched
        with self._lock:
            is_flat = bool(found.min(initial=np.inf) < _FLAT * statistics.median(self._widest))
            if not is_flat:
                self._note(found)
        return is_flat

    def confirm(self, logits: Sequence[NDArray[np.float32]], lengths: NDArray[np.int64]) -> None:
        """Take note of a batch that is flat by its nature, so that those like it soon are usual."""
        with self._lock:
            self._note(spreads(logits, lengths))

    def _note(self, found: NDArray[np.float32]) -> None:
        self._widest.append(float(found.max(initial=0.0)))


def spreads(logits: Sequence[NDArray[np.float32]], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return how far the logits of each window spread, of its starts or its ends, whichever do less: ``(b,)``.

    :param logits: of the starts and of the ends: ``(b, t)`` each
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
