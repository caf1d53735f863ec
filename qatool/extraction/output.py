"""Where answers go: the run folder while the work lasts, or standard output, and what stands beside the output."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from qatool.files.answers import open_writer
from qatool.files.atomic import temporaries_of
from qatool.files.objects import ObjectPath
from qatool.files.targets import SUCCESS_NAME
from qatool.files.writefailures import reporting
from qatool.jobs.leftovers import sweep

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
    """Clear away what a killed run left beside the output; only under the lock.

    A folder takes its name in two renames. Killed between them, the earlier output stands under a temporary name
    only, and is put back. In a store nothing has a temporary name.

    :raises OutputError: it cannot be put back
    """
    path = target.path
    if target.kind == "stdout" or isinstance(path, ObjectPath):
        return
    if target.kind == "folder" and not path.exists():
        for left in temporaries_of(path):
            if (left / SUCCESS_NAME).is_file():
                with reporting(path):
                    left.rename(path)
                break
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
