"""What killed runs left under temporary names on a disk; in a store nothing has one."""

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
    """Remove what killed runs left half written in a folder."""
    if isinstance(folder, ObjectPath):
        return
    # Another run may be about to ask for our lock.
    spared = temporaries_of(folder / LOCK_NAME)
    for path in temporaries_in(folder):
        if path not in spared:
            _remove(path)


def restore(folder: Path) -> None:
    """Put an earlier output folder back that a killed run has moved aside, and sweep; only under the lock.

    A folder takes its name in two renames. Killed between them, the earlier one stands under a temporary name only.

    :raises OutputError: it cannot be put back
    """
    if not folder.exists():
        for left in temporaries_of(folder):
            if is_sealed(left):
                with reporting(folder):
                    left.rename(folder)
                break
    sweep(folder)


def sweep(*paths: Path) -> None:
    """Remove what runs that were killed left beside ``paths`` under temporary names; only under the lock."""
    for path in paths:
        for left in temporaries_of(path):
            _remove(left)


def empty_folder(folder: Path, *, first: Path, last: Path) -> None:
    """Remove what a run put into a folder on a disk, as far as that goes; ``first`` and ``last`` then.

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
