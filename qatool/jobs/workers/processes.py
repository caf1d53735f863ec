"""Helpers for processes that work for this one: cores, memory, and how processes end."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from qatool.errors import EnvironmentUnfitError

if TYPE_CHECKING:
    from collections.abc import Iterator

_OWN_GROUPS, _ALL_GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Return how many whole cores this process may use, at least 1, as limited by the machine and its container."""
    # macOS binds no process to cores.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    granted = (quota / period for quota, period in map(_quota, _control_groups()) if quota > 0 and period > 0)
    return max(1, int(min((cores, *granted))))


def peak_memory_bytes() -> int:
    """Return the most memory that this process has held so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _control_groups() -> Iterator[Path]:
    """Yield the folders of the control groups (version 2 or 1) that this process is in, and of their parents."""
    try:
        lines = _OWN_GROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            top = _ALL_GROUPS / controllers
            own = top / path.strip("/")
            yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(top))


def _quota(group: Path) -> tuple[int, int]:
    """Return the CPU time that a control group has per period, and the period, in microseconds; no limit: ``(0, 0)``.

    Without a limit in version 1, the time is -1.
    """
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        with suppress(OSError, ValueError):
            quota, period = (int(word) for name in names for word in (group / name).read_text("ascii").split())
            return quota, period
    return 0, 0


class ProcessDiedError(EnvironmentUnfitError):
    """A process that helped with the work has died."""


def died() -> ProcessDiedError:
    """Return the error to raise for a process that has died."""
    return ProcessDiedError(
        "a worker process died (killed from outside, or out of memory); start again with fewer --workers"
        + _for_a_script()
    )


def _for_a_script() -> str:
    """Return an addition to that error for Python programs: each new process runs the program again, from the top."""
    program = getattr(sys.modules.get("__main__"), "__file__", None)
    if program is None or Path(program).parent.name == "qatool" or Path(program).stem == "qatool":
        return ""
    return f". If {Path(program).name} calls qatool outside of `if __name__ == '__main__':`, put the call there"


def leave_ending_to_the_parent() -> None:
    """Let this process end together with its parent, and not by signals that the terminal sends to both."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="qatool-parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
