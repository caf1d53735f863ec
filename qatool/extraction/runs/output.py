"""Where answers are written: the run folder or standard output during the run, and the files beside the output."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from qatool.files.output.answers import open_writer
from qatool.files.output.targets import beside, run_folder
from qatool.files.storage.objects import ObjectPath
from qatool.jobs.runfolder.leftovers import restore, sweep
from qatool.names import REJECTS_SUFFIX, RUN_FOLDER_SUFFIX, SUMMARY_SUFFIX

if TYPE_CHECKING:
    from contextlib import ExitStack

    from qatool.files.output.targets import Target
    from qatool.files.storage.locations import Location
    from qatool.jobs.runfolder.markers import Marker
    from qatool.jobs.work import Part, Unit


WRITTEN_SUFFIXES = ("", RUN_FOLDER_SUFFIX, SUMMARY_SUFFIX, REJECTS_SUFFIX)
"""Suffixes to the output's name: that of the output itself (none), and those of the files and folders beside it."""


def workplace(target: Target, stack: ExitStack) -> Location:
    """Return the run folder of an output; that of standard output is temporary, and removed by ``stack``."""
    if target.kind == "stdout":
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qatool-"))) / "run"
    return run_folder(target.path)


def recover(target: Target) -> None:
    """Clean up what a killed run left beside the output; call it only while the lock is held.

    In an object store nothing is left behind, as nothing there is written under a temporary name.

    :raises OutputError: an earlier output folder cannot be put back
    """
    path = target.path
    if target.kind == "stdout" or isinstance(path, ObjectPath):
        return
    if target.kind == "folder":
        restore(path)
    sweep(*(beside(path, suffix) for suffix in WRITTEN_SUFFIXES))


class StreamingStore:
    """Writes each part to standard output at once; nothing of it is kept."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def finished(self, _unit: Unit, /) -> Marker | None:
        """Return ``None``: an earlier start never leaves finished units here."""
        return None

    def commit(self, _unit: Unit, part: Part, /) -> None:
        """Write the rows of a part.

        :raises OutputError: standard output was closed by its reader
        """
        with open_writer(self._target, part.table.schema, dict) as writer:
            writer.write(part.table)
