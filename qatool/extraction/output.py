"""Where answers go: the run folder while the work lasts, or standard output, and what stands beside the output."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from qatool.files.answers import open_writer
from qatool.files.objects import ObjectPath
from qatool.jobs.leftovers import restore, sweep

if TYPE_CHECKING:
    from contextlib import ExitStack

    from qatool.files.locations import Location
    from qatool.files.targets import Target
    from qatool.jobs.folder import RunFolder
    from qatool.jobs.markers import Marker
    from qatool.jobs.work import Part, Unit


def run_folder(output: Location) -> Location:
    """Return the run folder of an output."""
    return beside(output, ".qatool")


def beside(output: Location, suffix: str) -> Location:
    """Return what stands beside an output under its name with a suffix more."""
    return output.with_name(output.name + suffix)


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
    sweep(*(path.with_name(path.name + suffix) for suffix in ("", ".qatool", ".summary.json", ".rejects.jsonl")))


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
        with open_writer(self._target, part.table.schema, {}) as writer:
            writer.write(part.table)
        self._folder.mark(unit, part, part_hash="", seconds=seconds)
