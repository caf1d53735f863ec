"""Process a stream of items in several processes, with results in order and a bounded number of items in progress."""

from __future__ import annotations

from collections import deque
from concurrent.futures import TimeoutError as NotYet
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, TypeVar

from qatool.jobs.workers.actors import ProcessActors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 2
"""Items in progress for each process."""
_POLL_S = 0.1


def in_order(
    task: Callable[[T], R],
    items: Iterable[T],
    *,
    workers: int,
    check: Callable[[], None],
    preload: Sequence[str] = (),
) -> Iterator[R]:
    """Yield ``task(item)`` for every item, in order, computed by processes.

    The task is sent to each process once, by pickling. With one worker, or a single item, it is called in this
    process.

    :param check: called often; may raise to stop, and the items in progress are then given up
    :param preload: modules that the task needs, imported once for all processes
    :raises EnvironmentUnfitError: a process died
    """
    stream = iter(items)
    first = list(islice(stream, 2))
    stream = chain(first, stream)
    if workers == 1 or len(first) < 2:
        for item in stream:
            check()
            yield task(item)
        return
    actors = ProcessActors(partial(_itself, task), workers, preload=preload)
    waiting: deque[Future[R]] = deque()
    try:
        for item in stream:
            check()
            waiting.append(actors.call(actors.least_busy(), _apply, item))
            while len(waiting) > AHEAD * workers or (waiting and waiting[0].done()):
                yield _result(waiting.popleft(), check)
        while waiting:
            yield _result(waiting.popleft(), check)
    finally:
        actors.close()


def _itself(task: Callable[[T], R]) -> Callable[[T], R]:
    """Return the task, which is the whole state that an actor has here."""
    return task


def _apply(task: Callable[[T], R], item: T) -> R:
    return task(item)


def _result(future: Future[R], check: Callable[[], None]) -> R:
    while True:
        check()
        try:
            return future.result(timeout=_POLL_S)
        except NotYet:
            if future.done():
                return future.result()
