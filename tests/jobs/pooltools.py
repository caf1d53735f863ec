"""A job without questions, for engines: units that come back as their number, and workers that die when told to."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from qatool.errors import EnvironmentUnfitError
from qatool.jobs.engines.monitor import RunMonitor, Totals
from qatool.jobs.stopping import Stop
from qatool.jobs.work import Part
from qatool.jobs.workers.pool import DEFAULT_SLOTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True)
class Numbered:
    index: int

    @property
    def content_hash(self) -> str:
        return str(self.index)


def part_of(index: int, **more: Any) -> Part:
    return Part(table=pa.table({"index": [index]}), counts={"examples": 1}, **more)


class NumberWorker:
    """Does what the folder says: a file ``kill-3`` with ``2`` in it kills the next two that finish unit 3.

    ``raise-3``: an error with that text; ``unsendable-3``: a part that cannot be pickled.
    """

    slots = DEFAULT_SLOTS

    def __init__(self, folder: Path, place: str, seconds: float) -> None:
        self.about = place
        self._folder = folder
        self._seconds = seconds

    def prepare(self, task: Numbered) -> Numbered:
        with suppress(FileNotFoundError):
            raise ValueError((self._folder / f"raise-{task.index}").read_text())
        return task

    def finish(self, prepared: Numbered, tick: Callable[[int], None]) -> Part:
        with (self._folder / "begun").open("a") as stream:
            stream.write(f"{prepared.index} {os.getpid()}\n")
        deaths = self._folder / f"kill-{prepared.index}"
        if deaths.exists() and (left := int(deaths.read_text())):
            deaths.write_text(str(left - 1))
            os.kill(os.getpid(), signal.SIGKILL)
        while (self._folder / "hold").exists():
            time.sleep(0.002)
        end = time.monotonic() + self._seconds
        while time.monotonic() < end:
            tick(1)
            time.sleep(0.002)
        tick(10)
        if (self._folder / f"unsendable-{prepared.index}").exists():
            return part_of(prepared.index, rejects=[{"lock": threading.Lock()}])
        return part_of(prepared.index)


@dataclass(frozen=True)
class NumberWorkerFactory:
    folder: Path
    seconds: float = 0.0
    unlike: bool = False

    def __call__(self, place: str) -> NumberWorker:
        if (self.folder / "broken").exists():
            raise EnvironmentUnfitError(f"{place}: the model does not load")
        if (self.folder / "deadly").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return NumberWorker(self.folder, place, self.seconds)

    def difference(self, first: Any, other: Any) -> str | None:
        return f"unlike ({first}, {other})" if self.unlike and first != other else None


@dataclass
class NumberJob:
    """Units from 0, and what was written of them, in the order in which it was."""

    count: int
    skip: bool = False
    fails_after: Exception | None = None
    done_before: frozenset[int] = frozenset()
    written: list[int] = field(default_factory=list)
    most_out: int = 0
    handed: int = 0

    def units(self) -> Iterator[Numbered]:
        for index in range(self.count):
            yield Numbered(index)
        if self.fails_after is not None:
            raise self.fails_after

    def task_for(self, unit: Numbered) -> Numbered:
        self.handed += 1
        self.most_out = max(self.most_out, self.handed - len(self.written))
        return unit

    def received(self, unit: Numbered, part: Part) -> None:
        pass

    def give_up(self, unit: Numbered, reason: str) -> Part:
        if not self.skip:
            raise EnvironmentUnfitError(f"unit {unit.index}: {reason}")
        return part_of(-unit.index)

    def finished(self, unit: Numbered, /) -> Any:
        from qatool.jobs.runfolder.markers import Marker

        if unit.index not in self.done_before:
            return None
        counts = {"examples": 1}
        return Marker(identity="", content_hash="", part_hash="", counts=counts, rejects=())

    def commit(self, unit: Numbered, part: Part) -> None:
        assert part.table["index"][0].as_py() in {unit.index, -unit.index}
        self.written.append(part.table["index"][0].as_py())


def run_numbers(job: NumberJob, pool: Any, *, in_order: bool = False, stop: Stop | None = None, done=None) -> Totals:
    """Run a job by a pool that is started here."""
    from qatool.jobs.engines.distributed import run_distributed

    totals, ticked = Totals(), Counter()
    with pool:
        pool.about(lambda: None)
        monitor = RunMonitor(
            stop=stop or Stop(),
            tick=lambda amount: ticked.update(amount=amount),
            done=done or (lambda step: None),
            totals=totals,
        )
        run_distributed(job, pool, job, monitor, in_order=in_order)
    totals.ticked = ticked["amount"]
    return totals


def begun(folder: Path) -> list[tuple[int, int]]:
    """Which unit was begun by which process, in order; a line that is still being written does not count yet."""
    path = folder / "begun"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [(int(unit), int(pid)) for unit, pid in map(str.split, lines)]
