"""What processes that work for this one have in common."""

from __future__ import annotations

import multiprocessing
import os

from qatool.errors import EnvironmentUnfitError


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def died() -> EnvironmentUnfitError:
    """Return what is said of a process that is gone."""
    return EnvironmentUnfitError(
        "a worker process died (killed from outside, or out of memory); start again with fewer --workers"
    )


def end_with_parent() -> None:
    """Wait for the process that started this one to end, and end at once."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
