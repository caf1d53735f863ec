"""Whose a run folder is: one run's at a time, and one command's while its work is unfinished."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from qatool.errors import ResumeRefusedError
from qatool.jobs.lock import Lock
from qatool.jobs.plan import PLAN_NAME, Plan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qatool.files.locations import Location
    from qatool.jobs.lock import OwnedLock


@contextmanager
def locked_folder(folder: Path, *, command: str) -> Iterator[Lock]:
    """Hold the lock of a run folder on a disk; one in which nothing else stands afterwards goes with it.

    :param folder: made when it is missing
    :raises LockedError: another live run holds it
    :raises ResumeRefusedError: it holds unfinished work of another command
    :raises OutputError: it cannot be made
    """
    with Lock(folder / "lock") as lock:
        try:
            refuse_others(folder, lock, command=command)
            yield lock
        finally:
            lock.remove_if_alone()


def refuse_others(folder: Location, lock: OwnedLock, *, command: str) -> None:
    """Make sure that the work in a folder is not another command's.

    :param lock: of the folder, held; names the owner before this run again when the work is another's
    :raises ResumeRefusedError: it is
    """
    plan = Plan.load(folder / PLAN_NAME)
    if plan is None or plan.owner == command:
        return
    with suppress(OSError):
        lock.disown()
    raise ResumeRefusedError(
        f"{folder}: holds unfinished work of qatool {plan.owner}; finish that first, remove the folder, or choose "
        "another output"
    )
