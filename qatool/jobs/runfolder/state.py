"""How far a run is, told from its folder by somebody else; writes nothing."""

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
    """What the folder of a run tells."""

    running: bool
    owner: Mapping[str, Any]
    """Of the lock: ``pid``, ``host``, ``since``; of the last run when none is running."""
    shards: int
    """Parts that are done."""
    command: str | None = None
    """Whose work it is; ``None`` where nothing tells."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Of those parts."""
    total: int | None = None
    """Examples there are, ``None`` where that cannot be told."""
    examples_per_second: float | None = None
    """Of the current or last start."""
    windows_per_second: float | None = None
    ended: Mapping[str, Any] | None = None
    """How the last start ended, as logged: ``event``, ``exit_code``, ``reason``, ``time``; ``None``: killed."""

    @property
    def finished(self) -> bool:
        """Whether the last start wrote its output: the folder was kept."""
        return self.ended is not None and self.ended.get("event") == "finished"

    @property
    def seconds_left(self) -> float | None:
        """What the remaining examples will take at that speed."""
        if self.total is None or not self.examples_per_second:
            return None
        return max(0, self.total - self.counts.get("examples", 0)) / self.examples_per_second


def read_state(path: Location) -> RunState | None:
    """Return the state of the run folder at ``path``; ``None`` when there is none.

    :raises InputError: something in it may not be read
    """
    with looking_up(path):
        return _read_state(path)


def _read_state(path: Location) -> RunState | None:
    folder = RunFolder(path)
    if not path.is_dir():
        return None
    for place in (path, folder.done, folder.log, folder.plan, folder.lock.path):
        check_readable(place)
    whole = [marker for marker in read_markers(matching(folder.done, "*.json")) if marker is not None]
    counts: Counter[str] = Counter()
    for marker in whole:
        counts.update(marker.counts)
    plan = Plan.load(folder.plan)
    shards, ended = _last_start(folder.log)
    owner = folder.lock.owner()
    examples, windows, seconds = (sum(shard.get(key, 0) for shard in shards) for key in _SUMMED)
    return RunState(
        running=folder.lock.is_held(),
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
    """Return the shards the last start did, as logged, and how it ended, if it did.

    A start that was refused, because the folder belongs to other work, is none.
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
