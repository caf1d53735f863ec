"""The run folder: plan, lock, log and parts of a run, from its first start until its output is done."""

from __future__ import annotations

import re
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Self

from qatool.errors import EnvironmentUnfitError, InputError, OutputError, ResumeRefusedError, UsageError
from qatool.files.sources.stdin import SPOOL_NAME
from qatool.files.storage.atomic import temporary_name
from qatool.files.storage.locations import Location, remove_tree
from qatool.files.storage.objects import ObjectPath
from qatool.files.storage.writefailures import reporting
from qatool.jobs.runfolder.claim import refuse_foreign, refuse_others
from qatool.jobs.runfolder.leftovers import remove_folder, sweep_folder
from qatool.jobs.runfolder.lock import LOCK_NAME, Lock
from qatool.jobs.runfolder.objectlock import ObjectLock
from qatool.jobs.runfolder.parts import Parts
from qatool.jobs.runfolder.plan import PLAN_NAME

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


_NOTHING = re.compile(r"parts|done|previous|plan\.json|log(\.jsonl)?|lock(\..*)?|\..*")
"""Names in a run folder that a later start has no use for, unless a folder among them holds something."""


class RunFolder:
    """The folder ``<output>.qatool`` of a run; as a context manager, it holds the lock of the folder.

    Entering it removes files that killed runs left half written.

    :param path: the folder, made on entering when it is missing
    :param command: the command whose work the folder holds; empty for a caller that only reads it
    :raises OutputError: the folder cannot be made
    :raises LockedError: another live run holds the lock
    :raises ResumeRefusedError: the folder holds unfinished work of another command
    """

    def __init__(self, path: Location, *, command: str = "") -> None:
        self.path = path
        self.command = command
        self.lock = (
            ObjectLock(path / LOCK_NAME, command=command)
            if isinstance(path, ObjectPath)
            else Lock(path / LOCK_NAME, command=command)
        )
        self.is_removed = False
        """Whether the folder has been removed, so that nothing more may be written to it."""
        self.parts = Parts(path, check=self.lock.check)

    def __enter__(self) -> Self:
        refuse_foreign(self.path)
        with ExitStack() as undone:
            undone.enter_context(self.lock)
            self.refuse_others()
            with reporting(self.path):
                sweep_folder(self.path)
                self.parts.begin()
            undone.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A run that failed over its input or options before it did anything leaves nothing; one that was stopped
        # leaves its plan.
        refused = isinstance(error, InputError | UsageError | EnvironmentUnfitError)
        if self._holds_nothing(plan_counts=not refused):
            self.remove()
        elif isinstance(error, ResumeRefusedError):
            with suppress(OSError):
                self.lock.disown()
        self.lock.__exit__(kind, error, trace)

    def refuse_others(self) -> None:
        """Make sure that the folder does not hold work of another command.

        :raises ResumeRefusedError: the folder holds unfinished work of another command
        """
        if self.command:
            refuse_others(self.path, self.lock, command=self.command)

    @property
    def plan(self) -> Location:
        """The path of the plan."""
        return self.path / PLAN_NAME

    @property
    def rejects(self) -> Location:
        """The path of the list of rejected rows."""
        return self.path / "rejects.jsonl"

    @property
    def log(self) -> Location:
        """The path of the log of events."""
        return self.path / "log.jsonl"

    def staging(self) -> Path | None:
        """Return a new temporary path to write the output to, ``None`` in a store, where none is needed."""
        return None if isinstance(self.path, ObjectPath) else temporary_name(self.path / "final")

    def start_over(self) -> None:
        """Remove all work done so far.

        :raises OutputError: the work cannot be removed
        :raises LockedError: the folder is no longer ours
        """
        self.lock.check()
        with reporting(self.path):
            self.plan.unlink(missing_ok=True)
            self.parts.clear()

    def _holds_nothing(self, *, plan_counts: bool) -> bool:
        """Return whether the folder holds nothing that a later start could use; ``False`` if that is uncertain.

        :param plan_counts: whether a later start could use the plan alone
        """
        try:
            if plan_counts and self.plan.exists():
                return False
            return not self.parts.are_any() and all(_NOTHING.fullmatch(entry.name) for entry in self.path.iterdir())
        except (OSError, OutputError):
            return False

    def forget_previous(self) -> None:
        """Remove the parts that were set aside: in a folder that is kept, they would pile up."""
        if self.lock.is_ours():
            self.parts.forget_previous()

    def remove(self) -> None:
        """Remove the whole folder; failing to do so is no error, as a folder that is left behind does no harm."""
        if not self.lock.is_ours():
            return
        self.is_removed = True
        if isinstance(self.path, ObjectPath):
            self._remove_objects()
        else:
            remove_folder(self.path)

    def _remove_objects(self) -> None:
        """Remove the objects, markers first; the lock is removed when it is released."""
        with suppress(OSError):
            for folder in (self.parts.done, self.parts.folder, self.parts.previous, self.log.with_suffix("")):
                remove_tree(folder)
            for path in (self.plan, self.rejects, self.path / SPOOL_NAME):
                path.unlink(missing_ok=True)
