"""Clean up what killed runs left under temporary names on a disk; in a store, nothing has a temporary name."""

from __future__ import annotations

import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from qatool.files.output.targets import is_sealed
from qatool.files.storage.atomic import temporaries_in, temporaries_of
from qatool.files.storage.objects import ObjectPath
from qatool.files.storage.writefailures import reporting
from qatool.jobs.runfolder.claim import is_ours
from qatool.jobs.runfolder.lock import LOCK_NAME

if TYPE_CHECKING:
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
            _remove(path)


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
            _remove(left)


def empty_folder(folder: Path, *, first: Path, last: Path) -> None:
    """Remove what a run put into a folder on a disk, as far as possible.

    :param first: the path to remove before all others
    :param last: the path to remove after all others
    :raises OSError: the folder cannot be read
    """
    for path in sorted(folder.iterdir(), key=lambda path: (path != first, path == last)):
        if is_ours(path.name):
            _remove(path)


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
