"""Workers in other processes, of this machine or of others, and the messages between them and the run.

A pool holds the workers of an engine: it starts them, slots them tasks and returns their results. It decides nothing:
which task comes next, what is tried again and what is given up is up to :mod:`qatool.jobs.engines.distributed`, and
so the same for every pool.
"""

from __future__ import annotations

import logging
import pickle
import threading
import time
import traceback
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from qatool.errors import EnvironmentUnfitError
from qatool.jobs.work import P, Part
from qatool.logs import log_event, logger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T_contra = TypeVar("T_contra", contravariant=True)
K = TypeVar("K")
Q = TypeVar("Q")

DEFAULT_SLOTS = 2
"""Tasks that a worker of a single process holds: while one is finished, the next is prepared."""
POLL_S = 0.1
"""How long a pool waits for an event before it looks whether the run is to stop."""
STARTS = 3
"""How often a worker is started, at most, if it dies before it is ready."""


class Worker(Protocol[T_contra, P]):
    """Does the work, in a process of this machine or of another."""

    @property
    def about(self) -> Any:
        """What the run must know of the worker: a small value that can be pickled."""
        ...

    @property
    def slots(self) -> int:
        """How many tasks the worker can hold, at least 2; at most all but one of them are at the same stage."""
        ...

    def prepare(self, task: T_contra) -> P:
        """Do the work on a task that can be done while another task is finished."""
        ...

    def finish(self, prepared: P, tick: Callable[[int], None]) -> Part:
        """Turn a prepared task into its part.

        :param tick: called often with the amount of work done since the last call
        """
        ...


class WorkerFactory(Protocol[T_contra]):
    """Makes a worker; it is pickled, and called in the process that the worker will run in."""

    def __call__(self, place: str) -> Worker[T_contra, Any]:
        """Make a worker.

        :param place: the device that the worker is to use
        :raises EnvironmentUnfitError: the worker cannot use the device
        """
        ...

    def difference(self, first: Any, other: Any) -> str | None:
        """Return in words why a worker would not make the same parts as the first one, ``None`` if it would.

        :param first: the ``about`` of the first worker
        :param other: the ``about`` of the worker that is compared
        """
        ...


@dataclass(frozen=True, kw_only=True)
class TaskOutcome:
    """The result of a task."""

    part: Part
    prepare_seconds: float
    finish_seconds: float
    amount: int
    """The total amount of work, as reported through ``tick``."""


@dataclass(frozen=True)
class Failure:
    """An exception that a task, or the making of a worker, raised."""

    error: Exception

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Return a failure whose error carries the traceback as a note, which unlike a traceback can be pickled."""
        error.add_note("in a worker:\n" + "".join(traceback.format_exception(error)))
        return cls(error)


@dataclass(frozen=True)
class Returned:
    """Event: a task came back from its worker."""

    index: int
    result: TaskOutcome | Failure


def pickled(result: Any, wrap: Callable[[Any], Any] = lambda result: result) -> bytes:
    """Return a result, pickled; in place of one that cannot be sent to another process, a failure that says so.

    :param wrap: what to pickle, made of the result or the failure
    """
    try:
        data = pickle.dumps(wrap(result))
        if isinstance(result, Failure):
            pickle.loads(data)  # noqa: S301 (fails for an exception that was made of other arguments than it keeps)
    except MemoryError as error:
        return pickle.dumps(wrap(Failure.of(error)))
    except Exception as error:  # noqa: BLE001 (handed to the run)
        what = repr(result.error) if isinstance(result, Failure) else f"a result of type {type(result).__name__}"
        unsent = RuntimeError(f"{what} cannot be sent to another process: {error}")
        for note in getattr(getattr(result, "error", None), "__notes__", ()):
            unsent.add_note(note)
        return pickle.dumps(wrap(Failure(unsent)))
    return data


@dataclass(frozen=True)
class Advanced:
    """Event: a worker has done an amount of work on a task."""

    index: int
    amount: int


@dataclass(frozen=True)
class Lost:
    """Event: a worker died with tasks in hand."""

    indices: Sequence[int]
    reason: str
    with_machine: bool = False
    """Whether the whole machine of the worker was lost, so that the tasks are hardly to blame."""


Event = Returned | Advanced | Lost


@dataclass(frozen=True)
class Logged:
    """A log event of a worker, to be logged by the run."""

    level: int
    event: str
    fields: Mapping[str, Any]

    def log(self, place: str) -> None:
        """Log the event in this process."""
        log_event(self.event, level=self.level, **self.fields, place=place)


class WorkerPool(Protocol[T_contra]):
    """The workers of an engine, as a context manager that starts them and ends them."""

    def about(self, check: Callable[[], None]) -> Any:
        """Wait for a first worker to be ready, and return its ``about``.

        :param check: called often while no worker is ready; may raise to stop
        :raises EnvironmentUnfitError: no worker will ever be ready
        """
        ...

    @property
    def size(self) -> int:
        """How many workers are ready."""
        ...

    @property
    def slots(self) -> int:
        """How many tasks the workers can hold in all."""
        ...

    def give(self, index: int, task: T_contra, *, alone: bool) -> bool:
        """Hand out a task; return ``False`` where no worker can take it now.

        :param alone: whether the worker must hold no other task, and get none until this one is done
        """
        ...

    def events(self, timeout: float) -> Sequence[Event]:
        """Return the events since the last call, waiting for one at most ``timeout`` seconds.

        :raises EnvironmentUnfitError: no worker is left, and none will come
        """
        ...


class TaskRunner(Generic[Q, P]):
    """Does the tasks of one worker, called from as many threads as the worker has slots.

    While some threads finish tasks, at least one can prepare, and the other way round.
    """

    def __init__(self, worker: Worker[Q, P]) -> None:
        self._worker = worker
        self._preparing, self._finishing = (threading.Semaphore(worker.slots - 1) for _ in range(2))

    def do(self, task: Q, tick: Callable[[int], None] = lambda _: None) -> TaskOutcome | Failure:
        """Do a task; an exception that it raises is returned as a failure."""
        done = 0

        def counted(amount: int) -> None:
            nonlocal done
            done += amount
            tick(amount)

        try:
            with self._preparing:
                began = time.monotonic()
                prepared = self._worker.prepare(task)
                prepare_seconds = time.monotonic() - began
            with self._finishing:
                began = time.monotonic()
                part = self._worker.finish(prepared, counted)
                finish_seconds = time.monotonic() - began
        except Exception as error:  # noqa: BLE001 (handed to the run)
            return Failure.of(error)
        return TaskOutcome(part=part, prepare_seconds=prepare_seconds, finish_seconds=finish_seconds, amount=done)


class Assignments(Generic[K]):
    """Keeps track of which tasks each ready worker holds, and refuses workers that differ from the first.

    :param difference: see :meth:`WorkerFactory.difference`
    """

    def __init__(self, difference: Callable[[Any, Any], str | None]) -> None:
        self._difference = difference
        self._held: dict[K, set[int]] = {}
        self._slots: dict[K, int] = {}
        self._alone: set[K] = set()
        self.about: Any = None
        """The ``about`` of the first worker that joined."""

    def __len__(self) -> int:
        return len(self._held)

    @property
    def slots(self) -> int:
        """How many tasks the workers can hold in all."""
        return sum(self._slots.values())

    def __contains__(self, worker: K) -> bool:
        return worker in self._held

    def join(self, worker: K, about: Any, *, slots: int = DEFAULT_SLOTS) -> str | None:
        """Add a worker that is ready, unless it differs from the first; return the difference in words.

        :param slots: tasks that the worker can hold
        :returns: ``None`` if the worker was added
        """
        if self.about is None:
            self.about = about
        elif (difference := self._difference(self.about, about)) is not None:
            return difference
        self._held[worker], self._slots[worker] = set(), slots
        return None

    def leave(self, worker: K) -> tuple[int, ...]:
        """Remove a worker; return the indices of the tasks that it held."""
        self._alone.discard(worker)
        self._slots.pop(worker, None)
        return tuple(sorted(self._held.pop(worker, ())))

    def assign(self, index: int, *, alone: bool) -> K | None:
        """Assign a task to the worker that holds the fewest, and return that worker; ``None`` if none can take it."""
        able = [
            one
            for one, held in self._held.items()
            if len(held) < (1 if alone else self._slots[one]) and one not in self._alone
        ]
        if not able:
            return None
        chosen = min(able, key=lambda one: len(self._held[one]))
        self._held[chosen].add(index)
        if alone:
            self._alone.add(chosen)
        return chosen

    def release(self, worker: K, index: int) -> None:
        """Record that a worker no longer holds a task."""
        self._held[worker].discard(index)
        self._alone.discard(worker)


class BaseWorkerPool(ABC, Generic[K]):
    """The part of a pool that is the same wherever its workers are."""

    _assignments: Assignments[K]

    @property
    def size(self) -> int:
        """How many workers are ready."""
        return len(self._assignments)

    @property
    def slots(self) -> int:
        """How many tasks the workers can hold in all."""
        return self._assignments.slots

    def about(self, check: Callable[[], None]) -> Any:
        """Return the ``about`` of the first worker that is ready; see :class:`WorkerPool`."""
        while not len(self._assignments):
            check()
            self.events(POLL_S)
        return self._assignments.about

    @abstractmethod
    def events(self, timeout: float) -> list[Event]:
        """Return the events since the last call; see :class:`WorkerPool`."""


def log_through(tell: Callable[[Logged], None]) -> None:
    """Send all log events of this process, which is a worker's, to the run instead of logging them here."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            tell(Logged(record.levelno, record.getMessage(), dict(getattr(record, "fields", {}))))

    logger.handlers[:] = [Handler()]
    logger.setLevel(logging.DEBUG)
    logger.propagate = False


def leave_out(place: str, reason: str, *, others: int) -> None:
    """Log that the run goes on without a worker.

    :param others: number of workers that are ready or may still become so
    :raises EnvironmentUnfitError: there are no other workers
    """
    if not others:
        raise EnvironmentUnfitError(f"no worker can be had: {place}: {reason}")
    log_event("a worker is left out", level=logging.WARNING, place=place, reason=reason)
