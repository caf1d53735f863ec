"""Processes that work on a stream of items: results in order, a bounded number of items under way."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeVar

from qatool.errors import EnvironmentUnfitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 2
"""Items under way for each process."""
_POLL_S = 0.1
_task: Callable[[Any], Any] | None = None


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def in_order(
    task: Callable[[T], R],
    items: Iterable[T],
    *,
    workers: int,
    check: Callable[[], None],
    preload: Sequence[str] = (),
) -> Iterator[R]:
    """Yield ``task(item)`` for every item, in order, computed by processes.

    The task is sent to each process once, by pickling; the processes share nothing with this one, whose threads a
    fork would not survive. One worker, or a single item, needs no process.

    :param check: called often; may raise to stop
    :param preload: modules the task needs: imported once for all processes
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
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(task,))
    waiting: deque[Future[R]] = deque()
    others = set(multiprocessing.active_children())
    try:
        for item in stream:
            check()
            waiting.append(pool.submit(_work, item))
            while len(waiting) > AHEAD * workers or (waiting and waiting[0].done()):
                yield _result(waiting.popleft(), check)
        while waiting:
            yield _result(waiting.popleft(), check)
    except BaseException as error:
        # What they are at is of no use any more, and may take long.
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        _stop_feeding(pool)
        if isinstance(error, BrokenProcessPool):
            raise died() from error
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def died() -> EnvironmentUnfitError:
    """Return what is said of a process that is gone."""
    return EnvironmentUnfitError(
        "a worker process died (killed from outside, or out of memory); start again with fewer --workers"
    )


def _stop_feeding(pool: ProcessPoolExecutor) -> None:
    """Let a thread that is handing an item to processes that are gone give up.

    It waits for room in a pipe that early releases of Python 3.11 keep open for reading in this process, too, and so
    for ever: https://github.com/python/cpython/issues/94777. Later ones close it themselves, and not twice.
    """
    if sys.version_info < (3, 11, 7):
        queue: Any = getattr(pool, "_call_queue", None)
        if queue is not None:
            queue._reader.close()


def _result(future: Future[R], check: Callable[[], None]) -> R:
    while True:
        check()
        try:
            return future.result(timeout=_POLL_S)
        except NotYet:
            if future.done():
                return future.result()


def _begin(task: Callable[[Any], Any]) -> None:
    """Set up a worker process. Ctrl-C reaches it too, but it is the parent that ends it."""
    global _task  # noqa: PLW0603 one task a process, sent once
    _task = task
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, name="qatool-parent", daemon=True).start()


def end_with_parent() -> None:
    """Wait for the process that started this one to end, and end at once."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(item: Any) -> Any:
    if _task is None:
        raise RuntimeError("the worker was never set up")
    return _task(item)
