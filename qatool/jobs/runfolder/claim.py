"""Check who owns a run folder: one run at a time, and one command as long as its work is unfinished."""

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
    from collections.abc import Collection, Iterator

    from qatool.files.storage.locations import Location
    from qatool.jobs.runfolder.lock import LOCK_NAME, OwnedLock

_MARKS = (PLAN_NAME, LOCK_NAME)
"""Files by which a run folder is recognised: nearly every folder that a run worked in has at least one of them."""
_OURS = re.compile(
    r"plan\.json|parts|done|previous|rejects\.jsonl|stdin\.jsonl|log(\.jsonl)?|lock(\..*)?|\..*\.[0-9a-f]{8}\.tmp|\.nfs.*"
)
"""Names that a run gives to files in its folder, even a run that was ended while it was setting up or tidying."""


@contextmanager
def locked_folder(folder: Path, *, command: str, also: Collection[str] = ()) -> Iterator[Lock]:
    """Hold the lock of a run folder on a disk; afterwards, remove the folder if nothing but the lock is left in it.

    :param folder: the run folder, made when it is missing
    :param also: names that this command gives to files in its folder, besides those of every run
    :raises LockedError: another live run holds the lock
    :raises ResumeRefusedError: the folder holds unfinished work of another command
    :raises OutputError: the folder cannot be made, or holds files that qatool did not write
    """
    refuse_foreign(folder, also=also)
    with Lock(folder / LOCK_NAME, command=command) as lock:
        try:
            refuse_others(folder, lock, command=command)
            yield lock
        finally:
            lock.remove_if_alone()


def refuse_others(folder: Location, lock: OwnedLock, *, command: str) -> None:
    """Make sure that a folder does not hold work of another command.

    :param lock: the lock of the folder, held by this run; if the folder is refused, the lock file names its previous
        owner again
    :raises ResumeRefusedError: the folder holds unfinished work of another command
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


def is_ours(name: str, *, also: Collection[str] = ()) -> bool:
    """Return whether a run may have put a file or folder of this name into its folder.

    :param also: names that the run's command gives to files there, besides those of every run
    """
    return name in also or _OURS.fullmatch(name) is not None


def refuse_foreign(folder: Location, *, also: Collection[str] = ()) -> None:
    """Make sure that a folder that will be swept and removed belongs to a run: the user may have one of that name.

    :param also: see :func:`is_ours`
    :raises OutputError: the folder is on a disk and holds other files, but neither the plan nor the lock of a run; or
        it is a link that leads to no folder
    """
    if not isinstance(folder, Path):
        return
    if folder.is_symlink() and not folder.is_dir():
        raise OutputError(
            f"{folder}: is a link to {folder.readlink()}, which is no folder; make one there, or remove the link"
        )
    with reporting(folder):
        names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
        is_run = any((folder / name).is_file() for name in _MARKS)
    foreign = sorted(name for name in names if not is_ours(name, also=also))
    if foreign and not is_run:
        raise OutputError(
            f"{folder}: is the name of the run's folder, and holds {foreign[0]!a}, which qatool did not write; move "
            "it, or choose another output"
        )
