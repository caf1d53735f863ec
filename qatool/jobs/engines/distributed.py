"""The engine for many workers: units go out to a pool, parts come back in any order and are made durable here.

This process reads the input and writes all parts and markers, so that there is one lock holder and one writer, as on
one device. When a worker dies, the units it had in hand are tried again, each alone on a worker: so a unit that kills
its worker can be told from one that merely shared a worker with it. Only a bounded number of units is in progress at
a time.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from qatool.errors import EnvironmentUnfitError
from qatool.jobs.prefetch import prefetched
from qatool.jobs.work import Finished, TaskSource, U, Unreadable, tasks_of
from qatool.jobs.workers.pool import DEFAULT_SLOTS, Advanced, Failure, Lost, Returned, TaskOutcome
from qatool.logs import log_event
from qatool.wording import counted

if TYPE_CHECKING:
    from qatool.errors import QatoolError
    from qatool.jobs.engines.monitor import RunMonitor
    from qatool.jobs.work import Part, Store
    from qatool.jobs.workers.pool import Event, WorkerPool

Q = TypeVar("Q")
Q_co = TypeVar("Q_co", covariant=True)

TRIES = 3
"""How many workers may die with a unit in hand before the unit is given up."""
MACHINES = 10
"""How many whole machines may be lost while they work on a unit, which is hardly to blame, before it is given up."""
POLL_S = 0.1
_PROBLEMS_TOLD = 5
_BEHIND = 4
"""With parts in order: how many finished parts for each slot of the pool may wait for an earlier one."""


class DistributedWork(TaskSource[U, Q_co], Protocol[U, Q_co]):
    """A job as its run sees it; the work itself is done elsewhere, by a :class:`~qatool.jobs.workers.pool.Worker`.

    A task that is handed out must hold all that a worker needs, as the worker may be on another machine.
    """

    def received(self, unit: U, part: Part) -> None:
        """Inspect a part that came back, before it is written; may raise to stop."""
        ...

    def give_up(self, unit: U, reason: str) -> Part:
        """Return a part to stand for a unit that no worker could do.

        :raises EnvironmentUnfitError: no such part is allowed; the message says what the user can do
        """
        ...


@dataclass
class _UnderWay(Generic[U, Q]):
    """A unit that has been read but whose part is not written yet."""

    unit: U
    task: Q
    tries: int = 0
    """Workers that died with the unit in hand."""
    machines: int = 0
    """Machines that were lost while one of their workers had the unit in hand."""
    ticked: int = 0
    """The amount of work on the unit that its worker has reported so far."""


def run_distributed(
    work: DistributedWork[U, Q], pool: WorkerPool[Q], store: Store, monitor: RunMonitor, *, in_order: bool = False
) -> None:
    """Have a pool that is ready do all the work.

    :param in_order: whether parts must reach the store in the order of their units
    :raises EnvironmentUnfitError: units were given up; unless ``in_order``, all others are done by then
    """
    _Run(work, pool, store, monitor, in_order=in_order).go()


class _Run(Generic[U, Q]):
    """One run; see :func:`run_distributed`."""

    def __init__(
        self, work: DistributedWork[U, Q], pool: WorkerPool[Q], store: Store, monitor: RunMonitor, *, in_order: bool
    ) -> None:
        self._work, self._pool, self._store, self._monitor = work, pool, store, monitor
        self._in_order = in_order
        self._out: dict[int, _UnderWay[U, Q]] = {}
        """Units that a worker holds, by index."""
        self._again: deque[_UnderWay[U, Q]] = deque()
        """Units whose worker was lost, waiting to be tried again."""
        self._early: dict[int, tuple[U, Part] | None] = {}
        """With parts in order: units done that wait for an earlier one; ``None``: done by an earlier start."""
        self._next = 0
        """With parts in order: index of the first unit whose part is not written."""
        self._problems: list[str] = []

    def go(self) -> None:
        unreadable: QatoolError | None = None
        with prefetched(tasks_of(self._work, self._store), poll=lambda: self._look(0)) as items:
            for item in items:
                self._look(0)
                if isinstance(item, Finished):
                    self._monitor.resumed(item)
                    if self._in_order:
                        self._in_turn(item.index, None)
                elif isinstance(item, Unreadable):
                    # As on one device: the units before the break are done first.
                    unreadable = item.error
                    break
                else:
                    self._give(_UnderWay(item.unit, item.task))
            while self._out or self._again:
                self._look(POLL_S)
        if unreadable is not None:
            raise unreadable
        if self._problems:
            told, more = self._problems[:_PROBLEMS_TOLD], len(self._problems) - _PROBLEMS_TOLD
            raise EnvironmentUnfitError(*told, *([f"and {counted(more, 'more shard')}"] if more > 0 else []))

    def _give(self, one: _UnderWay[U, Q]) -> None:
        """Hand a unit out as soon as a worker has a hand free; units to be tried again go first."""
        while self._again or self._is_far_ahead() or not self._handed(one, alone=False):
            self._look(POLL_S)

    def _handed(self, one: _UnderWay[U, Q], *, alone: bool) -> bool:
        if not self._pool.give(one.unit.index, one.task, alone=alone):
            return False
        self._out[one.unit.index] = one
        return True

    def _is_far_ahead(self) -> bool:
        return len(self._early) > _BEHIND * max(DEFAULT_SLOTS, self._pool.slots)

    def _look(self, timeout: float) -> None:
        """Handle the events of the pool, waiting for one at most ``timeout`` seconds."""
        self._monitor.check()
        while self._again and self._handed(self._again[0], alone=True):
            self._again.popleft()
        for event in self._pool.events(timeout):
            # When all processes are terminated together, workers may end before this one: that is no loss to report.
            self._monitor.stop.check(may_run_out=False)
            self._take(event)
        self._monitor.tick(0)

    def _take(self, event: Event) -> None:
        match event:
            case Advanced(index, amount):
                self._out[index].ticked += amount
                self._monitor.tick(amount)
            case Lost(indices, reason, with_machine):
                for index in indices:
                    self._lost(self._out.pop(index), reason, with_machine=with_machine)
            case Returned(index, Failure(error)):
                raise error
            case Returned(index, TaskOutcome() as outcome):
                one = self._out.pop(index)
                self._monitor.tick(max(0, outcome.amount - one.ticked))
                self._monitor.totals.stages["prepare"] += outcome.prepare_seconds
                self._monitor.totals.stages["read"] += outcome.finish_seconds
                self._store_part(one.unit, outcome.part)

    def _lost(self, one: _UnderWay[U, Q], reason: str, *, with_machine: bool) -> None:
        one.ticked = 0
        if with_machine:
            one.machines += 1
        else:
            one.tries += 1
        if one.tries < TRIES and one.machines < MACHINES:
            self._again.append(one)
            log_event(
                "a worker was lost; its shard is tried again",
                level=logging.WARNING,
                shard=one.unit.index,
                reason=reason,
            )
            return
        times = f"{one.tries + one.machines} times"
        try:
            part = self._work.give_up(one.unit, f"its worker was lost {times} (the last time: {reason})")
        except EnvironmentUnfitError as error:
            if self._in_order:
                raise
            log_event("a shard is given up", level=logging.ERROR, shard=one.unit.index, reason=reason)
            self._problems += error.problems
            return
        log_event("a shard is given up", level=logging.WARNING, shard=one.unit.index, reason=reason)
        self._store_part(one.unit, part)

    def _store_part(self, unit: U, part: Part) -> None:
        """Write a part or, with parts in order, keep it until all before it are written."""
        self._work.received(unit, part)
        if self._in_order:
            self._in_turn(unit.index, (unit, part))
        else:
            self._commit(unit, part)

    def _in_turn(self, index: int, done: tuple[U, Part] | None) -> None:
        """Add a unit that is done, and write all parts that no longer wait for an earlier one."""
        self._early[index] = done
        while self._next in self._early:
            if (ready := self._early.pop(self._next)) is not None:
                self._commit(*ready)
            self._next += 1

    def _commit(self, unit: U, part: Part) -> None:
        began = time.monotonic()
        self._store.commit(unit, part)
        self._monitor.totals.stages["write"] += time.monotonic() - began
        self._monitor.committed(unit.index, part)
