"""Clean up what killed runs left under temporary names on a disk; in a store, nothing has a temporary name."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from qatool.files.output.targets import is_sealed
from qatool.files.storage.atomic import remove_path, temporaries_in, temporaries_of, temporary_name
from qatool.files.storage.objects import ObjectPath
from qatool.files.storage.writefailures import reporting
from qatool.jobs.runfolder.claim import is_ours
from qatool.jobs.runfolder.lock import LOCK_NAME

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from qatool.files.storage.locations import Location


def sweep_folder(folder: Location) -> None:
    """Remove the temporary files that killed runs left in a folder, except those of the lock."""
    if isinstance(folder, ObjectPath):
        return
    # A temporary file of the lock may belong to another run that is just asking for it.
    spared = temporaries_of(folder / LOCK_NAME)
    for path in temporaries_in(folder):
        if path not in spared:
            remove_path(path)


def restore(folder: Path) -> None:
    """Put back an earlier output folder that a killed run has moved aside, and sweep.

    Call it only while the lock is held. An output folder replaces an earlier one in two renames: a run that is killed
    between them leaves the earlier folder under a temporary name.

    :raises OutputError: the folder cannot be put back
    """
    if not folder.exists():
        for left in temporaries_of(folder):
            if is_sealed(left):
                with reporting(folder):
                    left.rename(folder)
                break
    sweep(folder)


def sweep(*paths: Path) -> None:
    """Remove what killed runs left beside ``paths`` under temporary names; call it only while the lock is held."""
    for path in paths:
        for left in temporaries_of(path):
            remove_path(left)


def remove_folder(folder: Path, *, also: Collection[str] = ()) -> None:
    """Remove the folder of a run that is done; failing to do so is no error, as a folder left behind does no harm.

    It is first renamed as a whole: a run that is just starting must not find half of it. Where the user made it a
    link, perhaps to another disk, what the run put there is removed, and the link stays for the next run.

    :param also: see :func:`qatool.jobs.runfolder.claim.is_ours`
    """
    with suppress(OSError):
        if folder.is_symlink():
            # Markers first: there must never be one without its part.
            for path in sorted(folder.iterdir(), key=lambda path: (path.name != "done", path.name == LOCK_NAME)):
                if is_ours(path.name, also=also):
                    remove_path(path)
        else:
            gone = temporary_name(folder)
            folder.rename(gone)
            remove_path(gone)
