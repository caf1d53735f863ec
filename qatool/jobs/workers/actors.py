"""Processes that each keep a state of their own between calls: what one call leaves there, a later call finds."""

from __future__ import annotations

import pickle
import queue
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from qatool.jobs.workers import forkserver
from qatool.jobs.workers.pool import Failure, pickled
from qatool.jobs.workers.processes import died, leave_ending_to_the_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerContext

R = TypeVar("R")


class Actors(Protocol):
    """Actors, numbered from 0, each of which has a state of its own."""

    count: int

    def least_busy(self) -> int:
        """Return the number of the actor with the fewest calls to answer; of several, the first.

        Its state has usually learnt the most, such as words that are cached.
        """
        ...

    def call(self, number: int, task: Callable[..., R], /, *args: Any) -> Future[R]:
        """Have an actor call ``task(state, …)``; the calls to one actor are done in order."""
        ...

    def close(self) -> None:
        """End the actors; the results of calls in progress are lost."""
        ...


class InProcessActor:
    """A single actor in this process, which does each call at once.

    :param make: makes the state of the actor
    """

    count = 1

    def __init__(self, make: Callable[[], Any]) -> None:
        self._state = make()

    def least_busy(self) -> int:
        """Return 0, the only number."""
        return 0

    def call(self, _number: int, task: Callable[..., R], /, *args: Any) -> Future[R]:
        """Call ``task(state, …)`` now; an exception is raised here, not by the future."""
        done: Future[R] = Future()
        done.set_result(task(self._state, *args))
        return done

    def close(self) -> None:
        """Do nothing: there is nothing to end."""


class ProcessActors:
    """Actors in processes, which are not forked from this one, as a fork would not survive its threads.

    The processes ignore Ctrl-C and the closing of the terminal, which reach them too, and end with this process,
    however it ends. Each has a pipe of its own, so that nobody waits for the rest of a message when a process is
    killed while it writes. A process is started at the first call to it.

    :param make: makes the state of an actor, in its process; sent by pickling
    :param preload: modules that ``make`` and the tasks need, imported once for all processes
    """

    def __init__(self, make: Callable[[], Any], count: int, *, preload: Sequence[str] = ()) -> None:
        self.count = count
        self._context = forkserver.context(preload)
        self._make = pickle.dumps(make)
        self._actors: dict[int, _ActorProcess] = {}

    def least_busy(self) -> int:
        """Return the number of the actor with the fewest calls to answer; it may not have been started yet."""
        return min(range(self.count), key=lambda number: self._actors[number].busy if number in self._actors else 0)

    def call(self, number: int, task: Callable[..., R], /, *args: Any) -> Future[R]:
        """Send a call to a process; the future raises :class:`~qatool.errors.EnvironmentUnfitError` if that dies.

        :raises EnvironmentUnfitError: the process cannot be started
        """
        if number not in self._actors:
            self._actors[number] = _ActorProcess(self._context, self._make)
        return self._actors[number].call(task, *args)

    def close(self) -> None:
        """End the processes."""
        for actor in self._actors.values():
            actor.process.kill()
        for actor in self._actors.values():
            actor.close()


class _ActorProcess:
    """A process, and a thread here that exchanges messages with it.

    :param make: the pickled function that makes the state
    """

    def __init__(self, context: ForkServerContext, make: bytes) -> None:
        self._make = make
        self._pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), name="qatool actor", daemon=True)
        forkserver.start(self.process)
        theirs.close()
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None]
        self._calls = queue.SimpleQueue()
        self._asked = self._answered = 0
        self._thread = threading.Thread(target=self._speak, name="qatool-actor", daemon=True)
        self._thread.start()

    def call(self, task: Callable[..., R], *args: Any) -> Future[R]:
        future: Future[R] = Future()
        self._asked += 1
        self._calls.put((future, task, args))
        return future

    @property
    def busy(self) -> int:
        """Number of calls that the process has not answered yet."""
        return self._asked - self._answered

    def close(self) -> None:
        """Wait for the process, which must have been killed, and for the thread to end."""
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
    """Run as an actor: make the state, then answer calls until the pipe is closed."""
    leave_ending_to_the_parent()
    state: Any = None
    unmade: Failure | None = None
    with suppress(EOFError, OSError):
        try:
            state = pipe.recv()()
        except Exception as error:  # noqa: BLE001  (returned at the first call)
            unmade = Failure.of(error)
        while True:
            task, args = pipe.recv()
            pipe.send_bytes(pickled(unmade or _done(task, state, args)))


def _done(task: Callable[..., Any], state: Any, args: tuple[Any, ...]) -> Any:
    try:
        return task(state, *args)
    except Exception as error:  # noqa: BLE001  (handed to the caller)
        return Failure.of(error)
