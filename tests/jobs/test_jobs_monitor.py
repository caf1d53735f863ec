"""What every engine tells of a run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from pooltools import Numbered, NumberJob, part_of

from qatool.jobs.engines.distributed import run_distributed
from qatool.jobs.engines.local import run_local
from qatool.jobs.engines.monitor import RunMonitor
from qatool.jobs.engines.staged import FinishedUnit, run_staged
from qatool.jobs.stopping import Stop
from qatool.jobs.workers.pool import Returned, TaskOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qatool.jobs.engines.monitor import Step
    from qatool.jobs.work import Part

SHARE_S = 0.1


class SlowJob(NumberJob):
    """Looking at what is done, preparing and finishing take a tenth of a second each."""

    def finished(self, unit: Numbered, /) -> Any:
        time.sleep(SHARE_S * (unit.index in self.done_before))
        return super().finished(unit)

    def prepare(self, unit: Numbered) -> Numbered:
        time.sleep(SHARE_S)
        return unit

    def finish(self, prepared: Numbered, tick: Callable[[int], None]) -> Part:
        time.sleep(SHARE_S)
        return part_of(prepared.index)

    def made(self, unit: Numbered) -> Part:
        return self.finish(self.prepare(unit), lambda _: None)

    def parts(self, tasks: Iterator[Numbered | None], *, check: Callable[[], None]) -> Iterator[FinishedUnit]:
        for unit in filter(None, tasks):
            yield FinishedUnit(
                index=unit.index, content_hash=unit.content_hash, part=self.made(unit), amount=1, stages={}
            )


class OneByOne:
    """A pool of one worker, in this process."""

    size = slots = 1

    def __init__(self, job: SlowJob) -> None:
        self._job = job
        self._held: list[Numbered] = []

    def give(self, index: int, task: Numbered, *, alone: bool) -> bool:
        if not self._held:
            self._held.append(task)
            return True
        return False

    def events(self, timeout: float) -> list[Returned]:
        if not self._held or not timeout:
            return []
        unit = self._held.pop()
        part = self._job.made(unit)
        return [Returned(unit.index, TaskOutcome(part=part, prepare_seconds=0, finish_seconds=0, amount=1))]


ENGINES = {
    "local": lambda job, monitor: run_local(job, job, monitor),
    "staged": lambda job, monitor: run_staged(job, job, monitor),
    "distributed": lambda job, monitor: run_distributed(job, OneByOne(job), job, monitor),
}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_unit_takes_the_time_since_the_one_before_was_done(engine) -> None:
    steps: list[tuple[Step, float]] = []
    began = time.monotonic()
    monitor = RunMonitor(stop=Stop(), tick=lambda _: None, done=lambda step: steps.append((step, time.monotonic())))
    ENGINES[engine](SlowJob(8, done_before=frozenset({0, 1, 2, 5})), monitor)
    assert [step.index for step, _ in steps if step.resumed] == [0, 1, 2, 5]
    for (step, done), before in zip(steps, [began, *(when for _, when in steps)], strict=False):
        assert step.seconds == (0 if step.resumed else pytest.approx(done - before, abs=SHARE_S / 2)), step.index
    assert sum(step.seconds for step, _ in steps) > 4 * SHARE_S
