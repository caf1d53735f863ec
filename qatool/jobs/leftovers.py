"""What killed runs left under temporary names on a disk; in a store nothing has one."""

from __future__ import annotations

import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from qatool.files.atomic import temporaries_in, temporaries_of
from qatool.files.objects import ObjectPath

if TYPE_CHECKING:
    from pathlib import Path

    from qatool.files.locations import Location


def sweep_folder(folder: Location) -> None:
    """Remove what killed runs left half written in a folder."""
    if isinstance(folder, ObjectPath):
        return
    # Another run may be about to ask for our lock.
    spared = temporaries_of(folder / "lock")
    for path in temporaries_in(folder):
        if path not in spared:
            _remove(path)


def sweep(*paths: Path) -> None:
    """Remove what runs that were killed left beside ``paths`` under temporary names; only under the lock."""
    for path in paths:
        for left in temporaries_of(path):
            _remove(left)


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
