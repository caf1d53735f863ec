"""What a command needs of its process, checked before a library finds it missing and says so in its own way."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from qatool.errors import EnvironmentUnfitError, InputError
from qatool.jobs.workers.processes import usable_cores

NO_WORKING_FOLDER = "the working folder is gone; change into one that is there"
_SPARE_THREADS = 12
"""Threads that a command starts beside those of the numeric libraries, which start one a core."""
_STACK_BYTES = 1 << 18


def check_surroundings() -> None:
    """Check that there is a working folder, and that the threads can be started that libraries start on import.

    :raises InputError: the working folder was removed
    :raises EnvironmentUnfitError: the user or the service may not have that many threads
    """
    if not has_working_folder():
        raise InputError(NO_WORKING_FOLDER)
    given, cores = os.environ.get("OMP_NUM_THREADS", ""), usable_cores()
    wanted = _SPARE_THREADS + (min(int(given), cores) if given.isdecimal() else cores)
    if not _can_start(wanted):
        raise EnvironmentUnfitError(
            f"{wanted} threads cannot be started; raise the limit of processes (ulimit -u, or TasksMax of a "
            "service), or end other processes of this user"
        )


def has_working_folder() -> bool:
    """Return whether the folder that the process works in still exists."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


def _can_start(count: int) -> bool:
    """Return whether so many threads can be started beside each other."""
    enough = threading.Event()
    started: list[threading.Thread] = []
    before = threading.stack_size(_STACK_BYTES)
    try:
        for _ in range(count):
            thread = threading.Thread(target=enough.wait, name="qatool-probe")
            thread.start()
            started.append(thread)
    except RuntimeError:
        return False
    finally:
        threading.stack_size(before)
        enough.set()
        for thread in started:
            thread.join()
    return True
