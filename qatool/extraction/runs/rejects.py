"""The rejected rows of a run: how many are allowed, why they were rejected, and the file that lists them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from qatool.files.output.targets import beside
from qatool.files.sources.rows import RejectReasons, bad_row, too_many_bad
from qatool.files.storage.atomic import move, replacing
from qatool.files.storage.writefailures import reporting
from qatool.names import REJECTS_SUFFIX

if TYPE_CHECKING:
    from qatool.files.output.targets import Target
    from qatool.jobs.engines.monitor import Step
    from qatool.jobs.runfolder.folder import RunFolder
    from qatool.options import ExtractOptions


class RejectList:
    """The rejected rows of a run.

    :param folder: holds the list until the end
    """

    def __init__(self, options: ExtractOptions, target: Target, folder: RunFolder) -> None:
        self._options, self._target, self._folder = options, target, folder
        self._done: list[int] = []
        """Indices of the shards that are done; until the end, these need not be the first shards."""
        self._count = 0
        self.reasons = RejectReasons()

    def add(self, step: Step) -> None:
        """Add the rejected rows of a shard that is done."""
        self._done.append(step.index)
        self._count += len(step.rejects)
        for reject in step.rejects:
            self.reasons.add(reject["reason"])

    def check(self, step: Step) -> None:
        """Make sure that no rejected row of a shard, or no more of them than allowed, means the end of the run.

        :raises InputError: with ``--on-error fail``, for a row that an earlier start had rejected, and with
            ``--max-errors``, once more rows are rejected
        """
        if self._options.on_error == "fail" and step.rejects:
            first = step.rejects[0]
            raise bad_row(f"{first['where']}: {first['reason']}")
        most = self._options.max_errors
        if most is not None and self._count > most:
            see = "" if self._target.kind == "stdout" else str(self._folder.rejects)
            raise too_many_bad(self._count, most, see=see)

    def write(self) -> None:
        """Write the list to the run folder.

        :raises OutputError: the list cannot be written, or a marker has vanished
        """
        if not self._count or self._target.kind == "stdout" or not self._folder.lock.is_ours():
            return
        with replacing(self._folder.rejects, confirm=self._folder.lock.check) as stream:
            for marker in self._folder.parts.markers(sorted(self._done)):
                for reject in marker.rejects:
                    line = json.dumps(reject, ensure_ascii=False) + "\n"
                    stream.write(line.encode("utf-8", "backslashreplace"))

    def leave_beside(self) -> str | None:
        """Move the list beside the output, and return its path.

        Without rejected rows, remove the list of an earlier run, and return ``None``.

        :raises OutputError: it cannot be moved or removed
        """
        listed = beside(self._target.path, REJECTS_SUFFIX)
        with reporting(listed):
            if not self._count:
                listed.unlink(missing_ok=True)
                return None
            move(self._folder.rejects, listed)
            return str(listed)
