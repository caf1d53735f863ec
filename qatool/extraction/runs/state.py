"""Read the state of a run from its folder, from outside the run and without writing anything."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qatool.errors import ResumeRefusedError
from qatool.files.storage.locations import check_readable, looking_up, matching
from qatool.jobs.runfolder.folder import RunFolder
from qatool.jobs.runfolder.markers import read_markers
from qatool.jobs.runfolder.plan import Plan
from qatool.jobs.runfolder.runlog import last_events

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qatool.files.storage.locations import Location


@dataclass(frozen=True, kw_only=True)
class RunState:
    """The state of a run, as read from its folder."""

    running: bool
    owner: Mapping[str, Any]
    """The owner of the lock: ``pid``, ``host``, ``since``; when no run is at work, that of the last run."""
    shards: int
    """Number of parts that are done."""
    command: str | None = None
    """The command whose work the folder holds, ``None`` where neither plan nor lock names it."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """The counts of all parts that are done."""
    total: int | None = None
    """Number of examples in the input, ``None`` where it is not known."""
    examples_per_second: float | None = None
    """Speed of the current or last start."""
    windows_per_second: float | None = None
    ended: Mapping[str, Any] | None = None
    """How the last start ended, as logged: ``event``, ``exit_code``, ``reason``, ``time``; ``None``: it was killed or
    is still running."""

    @property
    def finished(self) -> bool:
        """Whether the last start has written its output, so that the folder was kept on purpose."""
        return self.ended is not None and self.ended.get("event") == "finished"

    @property
    def seconds_left(self) -> float | None:
        """The time that the remaining examples will take at that speed, ``None`` where it cannot be estimated."""
        if self.total is None or not self.examples_per_second:
            return None
        return max(0, self.total - self.counts.get("examples", 0)) / self.examples_per_second


def read_state(path: Location) -> RunState | None:
    """Return the state of the run folder at ``path``; ``None`` when there is none.

    :raises InputError: the folder holds something that may not be read
    """
    with looking_up(path):
        return _read_state(path)


def _read_state(path: Location) -> RunState | None:
    folder = RunFolder(path)
    if not path.is_dir():
        return None
    for place in (path, folder.parts.done, folder.log, folder.plan, folder.lock.path):
        check_readable(place)
    # Asked first: a run that ends meanwhile is then still told to be running, not to have been killed.
    running = folder.lock.is_held()
    whole = [marker for marker in read_markers(matching(folder.parts.done, "*.json")) if marker is not None]
    counts: Counter[str] = Counter()
    for marker in whole:
        counts.update(marker.counts)
    plan = Plan.load(folder.plan)
    shards, ended = _last_start(folder.log)
    owner = folder.lock.owner()
    examples, windows, seconds = (sum(shard.get(key, 0) for shard in shards) for key in _SUMMED)
    return RunState(
        running=running,
        owner={key: value for key, value in owner.items() if key in ("pid", "host", "since")},
        shards=len(whole),
        command=plan.command if plan is not None else str(owner.get("command") or "") or None,
        counts=dict(counts),
        total=None if plan is None else plan.examples,
        examples_per_second=examples / seconds if seconds else None,
        windows_per_second=windows / seconds if seconds else None,
        ended=ended,
    )


_SUMMED = ("examples", "windows", "seconds")


def _last_start(log: Location) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Return the logged events of the shards that the last start did, and the event that it ended with, if it did.

    The end of a start that was refused, because the folder belongs to other work, is ignored.
    """
    shards: list[dict[str, Any]] = []
    ended = None
    for event in last_events(log):
        match event.get("event"):
            case "started":
                shards, ended = [], None
            case "shard done" if not event.get("resumed"):
                shards.append(event)
            case "stopped" if event.get("exit_code") != ResumeRefusedError.exit_code:
                ended = event
            case "finished":
                ended = event
    return shards, ended
