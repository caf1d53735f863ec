"""The C library's memory, set up for tensors that come and go."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Of ``mallopt(3)``."""


def keep_freed_memory() -> bool:
    """Let the process keep what it frees, for the next tensor of the same size; return whether that is possible.

    The GNU C library gives large blocks back to the system at once and takes them anew page by page, each zeroed
    first. A model on a CPU that makes large activations spends up to a third of its time so. Memory then stays at
    its highest mark. Elsewhere than with that library nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    # Setting a value above the largest int fails; a trim threshold of 2 GB suffices.
    return bool(library.mallopt(_M_MMAP_MAX, 0)) and bool(library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
