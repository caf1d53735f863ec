"""What killed runs left under temporary names on a disk; in a store nothing has one."""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from qatool.files.objects import ObjectPath

if TYPE_CHECKING:
    from pathlib import Path

    from qatool.files.locations import Location

_WHOLE_NAME = 50
"""Longest name that a temporary name holds whole."""


def sweep_folder(folder: Location) -> None:
    """Remove what killed runs left half written in a folder."""
    if isinstance(folder, ObjectPath):
        return
    for path in folder.glob(".*.tmp"):
        # Not those of a lock: another run may be about to ask for ours.
        if not path.name.startswith(".lock."):
            _remove(path)


def sweep(*paths: Path) -> None:
    """Remove what runs that were killed left beside ``paths`` under temporary names; only under the lock."""
    for path in paths:
        if len(path.name) > _WHOLE_NAME:
            continue  # the temporary name holds a part of it only, and may be another file's
        pattern = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.tmp")
        for left in path.parent.glob(".*.tmp"):
            if pattern.fullmatch(left.name):
                _remove(left)


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
