"""Processes that each keep a state of their own: what one call makes there, a later call finds there."""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import pickle
import queue
import sys
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from qatool.jobs.workers.crew import Failure
from qatool.jobs.workers.processes import died, leave_ending_to_the_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection

R = TypeVar("R")


class Keepers(Protocol):
    """Keepers of a state each, by number."""

    count: int

    def least_busy(self) -> int:
        """Return which has the least to do; of several the first, which has learnt the most."""
        ...

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

    def least_busy(self) -> int:
        """Return the one."""
        return 0

    def call(self, _number: int, task: Callable[..., R], /, *args: Any) -> Future[R]:
        """Do it."""
        done: Future[R] = Future()
        done.set_result(task(self._state, *args))
        return done

    def close(self) -> None:
        """Nothing is left behind."""


def begin_early(preload: Sequence[str]) -> None:
    """Start the process that keepers are forked from: it imports meanwhile what they need.

    :param preload: as for :class:`ProcessKeepers`
    """
    _context(preload)
    multiprocessing.forkserver.ensure_running()


def _context(preload: Sequence[str]) -> Any:
    context = multiprocessing.get_context("forkserver")
    # A process imports the program's main module anew, which asks for what this one has imported of the package.
    package = __name__.partition(".")[0]
    ours = [name for name in list(sys.modules) if name.partition(".")[0] == package]
    context.set_forkserver_preload([*ours, *preload])
    return context


class ProcessKeepers:
    """Processes; they share nothing with this one, whose threads a fork would not survive.

    They ignore Ctrl-C and the end of the terminal, which reach them too, and end with this process, however it ends.
    Each has a pipe of its own: of one that is killed while it writes, the rest of the message is not waited for. One
    is started when it is first called.

    :param make: makes the state of one, there; sent by pickling
    :param preload: modules it needs: imported once for all processes
    """

    def __init__(self, make: Callable[[], Any], count: int, *, preload: Sequence[str] = ()) -> None:
        self.count = count
        self._context = _context(preload)
        self._make = pickle.dumps(make)
        self._keepers: dict[int, _Keeper] = {}

    def least_busy(self) -> int:
        """Return the process with the least to do, which may have to be started."""
        return min(range(self.count), key=lambda number: self._keepers[number].busy if number in self._keepers else 0)

    def call(self, number: int, task: Callable[..., R], /, *args: Any) -> Future[R]:
        """Send it to a process. The future raises :class:`~qatool.errors.EnvironmentUnfitError` if that dies.

        :raises EnvironmentUnfitError: it cannot be started
        """
        if number not in self._keepers:
            try:
                self._keepers[number] = _Keeper(self._context, self._make)
            except EOFError:
                raise died() from None  # what it would be forked from could not import what it was to
        return self._keepers[number].call(task, *args)

    def close(self) -> None:
        """End the processes."""
        for keeper in self._keepers.values():
            keeper.process.kill()
        for keeper in self._keepers.values():
            keeper.close()


class _Keeper:
    """A process, and a thread here that speaks with it.

    :param make: makes its state, pickled
    """

    def __init__(self, context: Any, make: bytes) -> None:
        self._make = make
        self._pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), name="qatool keeper", daemon=True)
        self.process.start()
        theirs.close()
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None]
        self._calls = queue.SimpleQueue()
        self._asked = self._answered = 0
        self._thread = threading.Thread(target=self._speak, name="qatool-keeper", daemon=True)
        self._thread.start()

    def call(self, task: Callable[..., R], *args: Any) -> Future[R]:
        future: Future[R] = Future()
        self._asked += 1
        self._calls.put((future, task, args))
        return future

    @property
    def busy(self) -> int:
        """Calls that it has not answered yet."""
        return self._asked - self._answered

    def close(self) -> None:
        """Put the process, which is killed, and the thread away."""
        self._calls.put(None)
        self._thread.join()
        self.process.join()
        self._pipe.close()

    def _speak(self) -> None:
        with suppress(OSError):
            self._pipe.send_bytes(self._make)
        while (call := self._calls.get()) is not None:
            future, task, args = call
            try:
                self._pipe.send((task, args))
                answer = self._pipe.recv()
            except (EOFError, OSError):
                answer = Failure(died())
            except Exception as error:  # noqa: BLE001  (handed to the caller)
                answer = Failure(error)
            self._answered += 1
            if isinstance(answer, Failure):
                future.set_exception(answer.error)
            else:
                future.set_result(answer)


def _serve(pipe: Connection) -> None:
    """Be a keeper: make the state, then do what comes."""
    leave_ending_to_the_parent()
    state: Any = None
    unmade: Failure | None = None
    with suppress(EOFError, OSError):
        try:
            state = pipe.recv()()
        except Exception as error:  # noqa: BLE001  (told at the first call)
            unmade = Failure.of(error)
        while True:
            task, args = pipe.recv()
            answer = unmade or _done(task, state, args)
            try:
                pipe.send(answer)
            except (pickle.PicklingError, TypeError, AttributeError) as error:  # nothing of it was sent
                pipe.send(Failure(RuntimeError(f"{error}: {answer}")))


def _done(task: Callable[..., Any], state: Any, args: tuple[Any, ...]) -> Any:
    try:
        return task(state, *args)
    except Exception as error:  # noqa: BLE001  (handed to the caller)
        return Failure.of(error)
