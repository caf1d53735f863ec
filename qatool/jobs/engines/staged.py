"""The staged engine: several units are in progress at a time, each at another stage; parts become durable in order.

It is for a device so fast that the host must prepare, decide and write at the same time. A kill costs the units in
progress, some seconds of work, where :mod:`qatool.jobs.engines.local` loses the one in hand.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

from qatool.jobs.prefetch import prefetched_or_none
from qatool.jobs.work import Finished, Part, ReadyTask, TaskSource, Unit, Unreadable, tasks_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from qatool.errors import QatoolError
    from qatool.jobs.engines.monitor import RunMonitor
    from qatool.jobs.work import Store

U = TypeVar("U", bound=Unit)
Q = TypeVar("Q")


WRITTEN_BESIDE = 2
"""Parts that may wait to be written while more are made."""
_MOMENT_S = 0.1


@dataclass(frozen=True, kw_only=True)
class FinishedUnit:
    """A unit with the part that was made of it."""

    index: int
    content_hash: str
    part: Part
    amount: int
    """The amount of work that was done, for the progress display."""
    stages: dict[str, float]
    """Seconds spent in each stage; stages of different units overlap."""


class StagedWork(TaskSource[U, Q], Protocol[U, Q]):
    """Work in which several units at a time share one device and several processes."""

    def parts(self, tasks: Iterator[Q | None], *, check: Callable[[], None]) -> Generator[FinishedUnit]:
        """Yield the parts of the units that were handed out, in order.

        Closing the iterator ends everything it has started.

        :param tasks: yields ``None`` while the next task has not been read yet
        :param check: called often; may raise to stop
        """
        ...


def run_staged(work: StagedWork[U, Q], store: Store, monitor: RunMonitor, *, write_beside: bool = True) -> None:
    """Do all the work, with several units in progress at once.

    :param write_beside: whether to make parts durable in a thread while others are made; not for a stream whose
        reader may block the writer, as an interruption would then be blocked, too
    """
    unreadable: list[QatoolError] = []

    def unfinished(items: Iterator[ReadyTask[U, Q] | Finished | Unreadable | None]) -> Iterator[Q | None]:
        for item in items:
            checked()
            if item is None:
                yield None
                continue
            if isinstance(item, ReadyTask):
                yield item.task
                continue
            if isinstance(item, Unreadable):
                # As in the other engines: the units before the break are done first.
                unreadable.append(item.error)
                return
            monitor.resumed(item)

    with ExitStack() as stack:
        writer = stack.enter_context(_Writer(store, monitor, beside=write_beside))

        def checked() -> None:
            writer.settle()
            monitor.check()
            monitor.tick(0)

        items = stack.enter_context(prefetched_or_none(tasks_of(work, store)))
        # Closed by the stack: an error while a part is written must not leave processes behind.
        for made in stack.enter_context(closing(work.parts(unfinished(items), check=checked))):
            writer.write(made)
            while writer.is_full:
                writer.wait()
                checked()
        while not writer.is_through:
            writer.wait()
            writer.settle()
            monitor.stop.check(may_run_out=False)
    for error in unreadable:
        raise error


class _Writer:
    """Makes parts durable in order, and counts and reports those that are.

    :param beside: whether to do so in a thread
    """

    def __init__(self, store: Store, monitor: RunMonitor, *, beside: bool) -> None:
        self._store, self._monitor = store, monitor
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="qatool-writer") if beside else None
        self._writing: deque[tuple[FinishedUnit, Future[float]]] = deque()
        self._has_failed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # After an error, the parts behind are dropped, and made again by the next start: better than a gap or a wait.
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    @property
    def is_full(self) -> bool:
        """Whether no more parts should be added for now."""
        return len(self._writing) > WRITTEN_BESIDE

    @property
    def is_through(self) -> bool:
        """Whether no part is waiting to become durable."""
        return not self._writing

    def write(self, made: FinishedUnit) -> None:
        """Begin to make a part durable."""
        if self._pool is not None:
            written = self._pool.submit(self._commit, made)
        else:
            written = Future()
            written.set_result(self._commit(made))
        self._writing.append((made, written))
        self.settle()

    def wait(self) -> None:
        """Wait at most 0.1 s for the part that is being made durable."""
        wait([self._writing[0][1]], timeout=_MOMENT_S)

    def settle(self) -> None:
        """Count and report the parts that have become durable; raise the error of one that could not."""
        while self._writing and self._writing[0][1].done():
            made, written = self._writing.popleft()
            totals = self._monitor.totals
            totals.stages["write"] += written.result()
            for stage, seconds in made.stages.items():
                totals.stages[stage] += seconds
            self._monitor.tick(made.amount)
            self._monitor.committed(made.index, made.part)

    def _commit(self, made: FinishedUnit) -> float:
        if self._has_failed:
            return 0.0  # never reported: the part that failed comes before it, and its error is raised
        began = time.monotonic()
        try:
            self._store.commit(made, made.part)
        except BaseException:
            self._has_failed = True
            raise
        return time.monotonic() - began
