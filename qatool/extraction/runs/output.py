"""Where answers go: the run folder while the work lasts, or standard output, and what stands beside the output."""

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
    from qatool.jobs.runfolder.folder import RunFolder
    from qatool.jobs.runfolder.markers import Marker
    from qatool.jobs.work import Part, Unit


WRITTEN_SUFFIXES = ("", RUN_FOLDER_SUFFIX, SUMMARY_SUFFIX, REJECTS_SUFFIX)
"""Behind the output's name: of the output and of what stands beside it."""


def workplace(target: Target, stack: ExitStack) -> Location:
    """Return the run folder of an output; standard output has a temporary one, removed with ``stack``."""
    if target.kind == "stdout":
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qatool-"))) / "run"
    return run_folder(target.path)


def recover(target: Target) -> None:
    """Clear away what a killed run left beside the output; only under the lock. In a store nothing has another name.

    :raises OutputError: an earlier folder cannot be put back
    """
    path = target.path
    if target.kind == "stdout" or isinstance(path, ObjectPath):
        return
    if target.kind == "folder":
        restore(path)
    sweep(*(beside(path, suffix) for suffix in WRITTEN_SUFFIXES))


class StreamingStore:
    """Sends each part to standard output at once; markers only, for rejects and the summary, go to the folder."""

    def __init__(self, folder: RunFolder, target: Target) -> None:
        self._folder = folder
        self._target = target

    def finished(self, _unit: Unit, /) -> Marker | None:
        """Nothing is ever finished before."""
        return None

    def commit(self, unit: Unit, part: Part, *, seconds: float) -> None:
        """Write the rows of a part.

        :raises OutputError: the reader of standard output has gone
        """
        with open_writer(self._target, part.table.schema, dict) as writer:
            writer.write(part.table)
        self._folder.mark(unit, part, part_hash="", seconds=seconds)
