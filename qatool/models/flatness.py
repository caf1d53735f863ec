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
"""Of the usual spread: batches of whole documents have nine tenths of it at least, noise had a tenth."""
_KEPT = 65
"""Batches of whose spreads the median is what is usual."""


class FlatLogits:
    """Knows how far the logits of the batches before spread; may be asked by several threads.

    :param usual: how far those of some windows do that were read first
    """

    def __init__(self, usual: float) -> None:
        self._spreads = deque([usual], maxlen=_KEPT)
        self._lock = threading.Lock()

    def are_flat(self, logits: Sequence[NDArray[np.float32]], lengths: NDArray[np.int64]) -> bool:
        """Whether a batch spreads less than a third of what is usual; if not, take note of it.

        :param logits: of the starts and of the ends: ``(b, t)`` each
        :param lengths: ``(b,)``: tokens of each window
        """
        found = spread(logits, lengths)
        if not np.isfinite(found):
            return False  # what is no number is dealt with where spans are searched
        with self._lock:
            is_flat = found < _FLAT * statistics.median(self._spreads)
            if not is_flat:
                self._spreads.append(found)
        return is_flat

    def confirm(self) -> None:
        """Take note that a batch is flat by its nature, so that those like it soon are usual."""
        with self._lock:
            self._spreads.append(0.0)


def spread(logits: Sequence[NDArray[np.float32]], lengths: NDArray[np.int64]) -> float:
    """Return how far the logits of the window that spreads most do: of its starts or its ends, whichever do less.

    :param logits: of the starts and of the ends: ``(b, t)`` each
    :param lengths: ``(b,)``: tokens of each window
    """
    there = np.arange(logits[0].shape[1]) < lengths[:, None]
    with np.errstate(invalid="ignore"):
        return min(
            float(
                np.max(
                    np.max(side, axis=1, where=there, initial=-np.inf)
                    - np.min(side, axis=1, where=there, initial=np.inf),
                    initial=0.0,
                )
            )
            for side in logits
        )
