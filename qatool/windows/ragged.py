"""Index arithmetic on ragged arrays: one flat array of values and an offsets array of row boundaries."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.integer]


def offsets_of(lengths: Ints) -> NDArray[np.int64]:
    """Return the row boundaries ``(rows + 1,)`` of rows with the given ``lengths (rows,)``."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def ranges(starts: Ints, lengths: Ints) -> NDArray[np.int64]:
    """Return ``starts[i], starts[i] + 1, …`` (``lengths[i]`` numbers) for every ``i``, one after the other.

    :param starts: ``(rows,)``
    :param lengths: ``(rows,)``
    :returns: ``(sum of lengths,)``
    """
    offsets = offsets_of(lengths)
    return np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)


def positions(lengths: Ints) -> NDArray[np.int64]:
    """Return ``0, 1, …`` (``lengths[i]`` numbers) for every ``i``: the position of each value within its row.

    :param lengths: ``(rows,)``
    :returns: ``(sum of lengths,)``
    """
    return ranges(np.zeros(len(lengths), dtype=np.int64), lengths)
