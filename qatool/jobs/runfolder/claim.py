"""Whose a run folder is: one run's at a time, and one command's while its work is unfinished."""

from __future__ import annotations

import re
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from qatool.errors import OutputError, ResumeRefusedError
from qatool.files.storage.writefailures import reporting
from qatool.jobs.runfolder.lock import LOCK_NAME, Lock
from qatool.jobs.runfolder.plan import PLAN_NAME, Plan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qatool.files.storage.locations import Location
    from qatool.jobs.runfolder.lock import LOCK_NAME, OwnedLock

_MARKS = (PLAN_NAME, LOCK_NAME)
"""One of these is in nearly every folder that a run worked in."""
_OURS = re.compile(
    r"plan\.json|parts|done|previous|rejects\.jsonl|stdin\.jsonl|log(\.jsonl)?|lock(\..*)?|\..*\.[0-9a-f]{8}\.tmp|\.nfs.*"
)
"""What a run puts there, also one that ended in the midst of setting up or of tidying."""
_OURS_IN_TRAINING = re.compile(rf"{_OURS.pattern}|features|model|metrics\.csv|(last|best)\.ckpt")
"""And one of a command whose output is a folder."""


@contextmanager
def locked_folder(folder: Path, *, command: str) -> Iterator[Lock]:
    """Hold the lock of a run folder on a disk; one in which nothing else stands afterwards goes with it.

    :param folder: made when it is missing
    :raises LockedError: another live run holds it
    :raises ResumeRefusedError: it holds unfinished work of another command
    :raises OutputError: it cannot be made, or is somebody else's
    """
    refuse_foreign(folder, ours=_OURS_IN_TRAINING)
    with Lock(folder / LOCK_NAME, command=command) as lock:
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
    if plan is None or plan.command == command:
        return
    with suppress(OSError):
        lock.disown()
    raise ResumeRefusedError(
        f"{folder}: holds unfinished work of qatool {plan.command}; finish that first, remove the folder, or choose "
        "another output"
    )


def is_ours(name: str) -> bool:
    """Whether a run gives such a name to what it puts into its folder."""
    return _OURS.fullmatch(name) is not None


def refuse_foreign(folder: Location, *, ours: re.Pattern[str] = _OURS) -> None:
    """Make sure that what is swept and removed after a run is a run's: a folder of that name may be anybody's.

    :raises OutputError: a folder on a disk holds something, and no run's plan or lock
    """
    if not isinstance(folder, Path):
        return
    with reporting(folder):
        names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
        is_run = any((folder / name).is_file() for name in _MARKS)
    foreign = sorted(name for name in names if not ours.fullmatch(name))
    if foreign and not is_run:
        raise OutputError(
            f"{folder}: is the name of the run's folder, and holds {foreign[0]!a}, which qatool did not write; move "
            "it, or choose another output"
        )
