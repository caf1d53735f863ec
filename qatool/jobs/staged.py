"""The staged engine: several units are on their way at a time, each at another stage; parts become durable in order.

For a device so fast that the host must prepare, decide and write beside it. A kill costs the units on their way, some
seconds of work, where :mod:`qatool.jobs.local` loses the one in hand.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from qatool.jobs.ahead import ahead
from qatool.jobs.work import Finished, HandedOut, HandingOut, Part, Unit, Unreadable, handed_out

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from qatool.errors import QatoolError
    from qatool.jobs.course import Course, Store

U = TypeVar("U", bound=Unit)
Q = TypeVar("Q")


WRITTEN_BESIDE = 2
"""Parts that may be on their way to the disk while more are made."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """A unit that has become its part."""

    index: int
    content_hash: str
    part: Part
    amount: int
    """Work that was done for it, as progress is told."""
    stages: dict[str, float]
    """Seconds by stage; they overlap with those of other units."""


class StagedWork(HandingOut[U, Q], Protocol[U, Q]):
    """Work that several units share a device and processes for."""

    def parts(self, tasks: Iterator[Q], *, check: Callable[[], None]) -> Generator[Made]:
        """Turn units that were handed out into their parts, in order; closing the iterator leaves nothing behind.

        :param check: called often; may raise to stop
        """
        ...


def run_staged(work: StagedWork[U, Q], store: Store, course: Course, *, write_beside: bool = True) -> None:
    """Do all the work there is.

    :param write_beside: make parts durable in a thread, while others are made; not where whoever reads them may keep
        the writer waiting, as an interruption would have to wait, too
    """
    began = time.monotonic()

    def checked() -> None:
        course.check()
        course.tick(0)

    unreadable: list[QatoolError] = []

    def unfinished(items: Iterator[HandedOut[U, Q] | Finished | Unreadable]) -> Iterator[Q]:
        for item in items:
            checked()
            if isinstance(item, HandedOut):
                yield item.task
                continue
            if isinstance(item, Unreadable):
                # As in the other engines: what stands before it is done first.
                unreadable.append(item.error)
                return
            course.resumed(item)

    def commit(made: Made) -> float:
        since = time.monotonic()
        store.commit(made, made.part, seconds=since - began)
        return time.monotonic() - since

    last = began
    writing: deque[tuple[Made, Future[float]]] = deque()

    def settle() -> None:
        nonlocal last
        made, written = writing.popleft()
        course.totals.stages["write"] += written.result()
        for stage, seconds in made.stages.items():
            course.totals.stages[stage] += seconds
        now = time.monotonic()
        course.tick(made.amount)
        course.committed(made.index, made.part, seconds=now - last)
        last = now

    with ahead(handed_out(work, store), poll=checked) as items, ExitStack() as stack:
        begin = stack.enter_context(ThreadPoolExecutor(1)).submit if write_beside else _at_once
        # Closed here: an error while a part is written must not leave processes behind.
        for made in stack.enter_context(closing(work.parts(unfinished(items), check=checked))):
            writing.append((made, begin(commit, made)))
            while writing and (len(writing) > WRITTEN_BESIDE or writing[0][1].done()):
                settle()
        while writing:
            settle()
    for error in unreadable:
        raise error


def _at_once(task: Callable[[Made], float], made: Made) -> Future[float]:
    done: Future[float] = Future()
    done.set_result(task(made))
    return done
