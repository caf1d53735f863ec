"""Processes that each keep a state of their own: what one call makes there, a later call finds there."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from qatool.jobs.processes import died, end_with_parent, stop_feeding

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

R = TypeVar("R")

_state: Any = None


class Keepers(Protocol):
    """Keepers of a state each, by number."""

    count: int

    def call(self, number: int, task: Callable[..., R], /, *args: Any) -> Future[R]:
        """Have ``task(state, …)`` done by a keeper; the calls to one are done in their order."""
        ...

    def close(self) -> None:
        """End them; what they are at is of no use any more."""
        ...


class LocalKeeper:
    """One keeper, in this process, that does what it is told at once.

    :param make: makes the state
    """

    count = 1

    def __init__(self, make: Callable[[], Any]) -> None:
        self._state = make()

    def call(self, _number: int, task: Callable[..., R], /, *args: Any) -> Future[R]:
        """Do it."""
        done: Future[R] = Future()
        done.set_result(task(self._state, *args))
        return done

    def close(self) -> None:
        """Nothing is left behind."""


class ProcessKeepers:
    """Processes; they share nothing with this one, whose threads a fork would not survive.

    They ignore Ctrl-C, which reaches them too, and end with this process, however it ends.

    :param make: makes the state of one, there; sent by pickling
    :param preload: modules it needs: imported once for all processes
    """

    def __init__(self, make: Callable[[], Any], count: int, *, preload: Sequence[str] = ()) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(preload))
        self.count = count
        self._others = set(multiprocessing.active_children())
        self._pools = [
            ProcessPoolExecutor(1, mp_context=context, initializer=_begin, initargs=(make,)) for _ in range(count)
        ]

    def call(self, number: int, task: Callable[..., R], /, *args: Any) -> Future[R]:
        """Send it to a process."""
        try:
            return self._pools[number].submit(_work, task, *args)
        except BrokenProcessPool as error:
            raise died() from error

    def close(self) -> None:
        """End the processes."""
        for process in set(multiprocessing.active_children()) - self._others:
            process.terminate()
        for pool in self._pools:
            stop_feeding(pool)
            pool.shutdown(cancel_futures=True)


def result(future: Future[R]) -> R:
    """Return what a call gave.

    :raises EnvironmentUnfitError: its process died
    """
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise died() from error


def _begin(make: Callable[[], Any]) -> None:
    """Set up a process; one that leaves its parent behind would hold its memory for nothing."""
    global _state  # noqa: PLW0603 one state a process
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, name="qatool-parent", daemon=True).start()
    _state = make()


def _work(task: Callable[..., R], *args: Any) -> R:
    return task(_state, *args)
