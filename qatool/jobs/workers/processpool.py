"""A pool of processes of this machine, one for each device."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import connection
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from qatool.jobs.workers import forkserver
from qatool.jobs.workers.pool import (
    STARTS,
    Advanced,
    Assignments,
    BaseWorkerPool,
    Failure,
    Logged,
    Lost,
    Returned,
    TaskRunner,
    leave_out,
    log_through,
    pickled,
)
from qatool.jobs.workers.processes import leave_ending_to_the_parent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from qatool.jobs.workers.pool import Event, WorkerFactory

Q = TypeVar("Q")

_TELL_EVERY_S = 0.5
"""How often a worker reports its progress."""
_END_S = 5.0


@dataclass(frozen=True)
class _Ready:
    about: Any
    slots: int


@dataclass(eq=False)
class _Process:
    """The process of a worker, whether the worker is ready or not."""

    place: str
    process: Any
    pipe: connection.Connection
    starts: int
    """Processes started for this place since a worker there was last ready, including this one."""


class ProcessWorkerPool(BaseWorkerPool["_Process"], Generic[Q]):
    """Workers in processes, which are not forked from this one, as a fork would not survive its threads.

    :param factory: makes the worker in each process
    :param places: the device of each worker
    :param preload: modules that workers need, imported once for all of them
    """

    def __init__(self, factory: WorkerFactory[Q], places: Sequence[str], *, preload: Sequence[str] = ()) -> None:
        self._factory = factory
        self._places = places
        self._context = forkserver.context(preload)
        self._members: list[_Process] = []
        self._assignments: Assignments[_Process] = Assignments(factory.difference)

    def __enter__(self) -> Self:
        try:
            for place in self._places:
                self._start(place)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def give(self, index: int, task: Q, *, alone: bool) -> bool:
        """Hand out a task; see :class:`~qatool.jobs.workers.pool.WorkerPool`."""
        worker = self._assignments.assign(index, alone=alone)
        if worker is None:
            return False
        # If the worker has just died, that is noticed when its pipe is read.
        with suppress(OSError):
            worker.pipe.send((index, task))
        return True

    def events(self, timeout: float) -> list[Event]:
        """Return the events since the last call; see :class:`~qatool.jobs.workers.pool.WorkerPool`."""
        by_pipe = {worker.pipe: worker for worker in self._members}
        found: list[Event] = []
        for pipe in connection.wait(list(by_pipe), timeout):
            worker = by_pipe[pipe]  # type: ignore[index]
            try:
                message = worker.pipe.recv()
            except (EOFError, OSError):
                found += self._died(worker)
                continue
            found += self._heard(worker, message)
        return found

    def _heard(self, worker: _Process, message: object) -> list[Event]:
        match message:
            case Returned(index, _) as returned:
                self._assignments.release(worker, index)
                return [returned]
            case Advanced() as advanced:
                return [advanced]
            case Logged() as logged:
                logged.log(worker.place)
            case _Ready(about, slots):
                worker.starts = 0
                if (difference := self._assignments.join(worker, about, slots=slots)) is not None:
                    self._leave_out(worker, difference)
            case Failure(error):
                if len(self._members) == 1:
                    raise error
                self._leave_out(worker, str(error))
        return []

    def _start(self, place: str, *, starts: int = 1) -> None:
        ours, theirs = self._context.Pipe()
        # No daemon: a worker may have processes of its own.
        process = self._context.Process(target=_serve, args=(theirs, self._factory, place), name=f"qatool {place}")
        forkserver.start(process)
        theirs.close()
        self._members.append(_Process(place, process, ours, starts))

    def _died(self, worker: _Process) -> list[Event]:
        """Handle the death of a worker: start another in its place, or give the place up after too many tries."""
        worker.process.join(_END_S)
        reason = _ending(worker.process.exitcode)
        self._members.remove(worker)
        worker.pipe.close()
        held = self._assignments.leave(worker)
        if worker.starts >= STARTS:
            reason = f"its process died {worker.starts} times before it was ready (the last time: {reason})"
            leave_out(worker.place, reason, others=len(self._members))
        else:
            self._start(worker.place, starts=worker.starts + 1)
        return [Lost(held, reason)] if held else []

    def _leave_out(self, worker: _Process, reason: str) -> None:
        self._members.remove(worker)
        _end(worker)
        leave_out(worker.place, reason, others=len(self._members))

    def _end(self) -> None:
        for worker in self._members:
            worker.process.kill()
        for worker in self._members:
            _end(worker)
        self._members.clear()


def _end(worker: _Process) -> None:
    # The result of its current task is not wanted any more, and a worker has nothing to clean up.
    worker.process.kill()
    worker.process.join(_END_S)
    worker.pipe.close()


def _ending(code: int | None) -> str:
    """Return in words how a process ended."""
    if code is None or code >= 0:
        return f"its process ended by itself with code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"its process was ended by {name}" + (", as when memory runs out" if name == "SIGKILL" else "")


def _serve(pipe: connection.Connection, factory: WorkerFactory[Any], place: str) -> None:
    """Run as a worker's process: make the worker, then do tasks until the run closes the pipe."""
    leave_ending_to_the_parent()
    channel = _Channel(pipe)
    log_through(channel.send)
    try:
        worker = factory(place)
        channel.send(_Ready(worker.about, worker.slots))
    except Exception as error:  # noqa: BLE001 (handed to the run)
        channel.send_pickled(pickled(Failure.of(error)))
        return
    runner: TaskRunner[Any, Any] = TaskRunner(worker)
    with ThreadPoolExecutor(worker.slots) as pool:
        while True:
            try:
                index, task = pipe.recv()
            except (EOFError, OSError):
                os._exit(0)
            pool.submit(channel.answer, runner, index, task)


class _Channel:
    """A pipe that several threads send messages through."""

    def __init__(self, pipe: connection.Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def send(self, message: object) -> None:
        self.send_pickled(pickle.dumps(message))

    def send_pickled(self, data: bytes) -> None:
        with self._lock, suppress(OSError):
            self._pipe.send_bytes(data)

    def answer(self, runner: TaskRunner[Any, Any], index: int, task: Any) -> None:
        """Do a task and send its result, and from time to time the progress."""
        told, since = 0, time.monotonic()

        def tick(amount: int) -> None:
            nonlocal told, since
            told += amount
            if (now := time.monotonic()) - since >= _TELL_EVERY_S and told:
                self.send(Advanced(index, told))
                told, since = 0, now

        self.send_pickled(pickled(runner.do(task, tick), partial(Returned, index)))
