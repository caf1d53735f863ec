"""What processes that work for this one have in common."""

from __future__ import annotations

import multiprocessing
import os
import sys
from pathlib import Path

from qatool.errors import EnvironmentUnfitError


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def died() -> EnvironmentUnfitError:
    """Return what is said of a process that is gone."""
    return EnvironmentUnfitError(
        "a worker process died (killed from outside, or out of memory); start again with fewer --workers"
        + _for_a_script()
    )


def _for_a_script() -> str:
    """Return what a Python program is told besides: each new process reads it again, from the top."""
    program = getattr(sys.modules.get("__main__"), "__file__", None)
    if program is None or Path(program).parent.name == "qatool" or Path(program).stem == "qatool":
        return ""
    return f". If {Path(program).name} calls qatool outside of `if __name__ == '__main__':`, put the call there"


def end_with_parent() -> None:
    """Wait for the process that started this one to end, and end at once."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
