"""Workers elsewhere, in processes of this machine or of others, and what passes between them and the run.

A crew holds the workers of an engine: it starts them, hands them tasks and tells what became of those. It decides
nothing: which task comes next, what is tried again and what is given up is the business of
:mod:`qatool.jobs.engines.distributed`, and the same for every engine.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
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

IN_HAND = 2
"""Tasks that a worker of one process holds: while one is finished the next is prepared."""
STARTS = 3
"""How often a worker that dies before it is ready is started."""


class Worker(Protocol[T_contra, P]):
    """What does the work, wherever that is."""

    @property
    def about(self) -> Any:
        """What the run must know of it: a small value that can be pickled."""
        ...

    @property
    def hands(self) -> int:
        """How many tasks it can hold, two or more; at each stage may be all but one of them at a time."""
        ...

    def prepare(self, task: T_contra) -> P:
        """Do what can be done while another task is finished."""
        ...

    def finish(self, prepared: P, tick: Callable[[int], None]) -> Part:
        """Turn a prepared task into its part.

        :param tick: called with the amount of work done, often
        """
        ...


class Maker(Protocol[T_contra]):
    """Makes a worker, in the process that it will work in. Pickled to get there."""

    def __call__(self, place: str) -> Worker[T_contra, Any]:
        """Make a worker.

        :param place: what of the machine it is to use
        :raises EnvironmentUnfitError: it cannot work there
        """
        ...

    def difference(self, first: Any, other: Any) -> str | None:
        """Return in words why a worker's part would not be the first one's, told from what is known about both."""
        ...


@dataclass(frozen=True, kw_only=True)
class TaskOutcome:
    """What became of a task."""

    part: Part
    prepare_seconds: float
    finish_seconds: float
    amount: int
    """Of work: all that was ticked."""


@dataclass(frozen=True)
class Failure:
    """A task, or the making of a worker, raised."""

    error: Exception

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Return a failure that can be pickled and that tells where it came from."""
        error.add_note("in a worker:\n" + "".join(traceback.format_exception(error)))
        return cls(error)


@dataclass(frozen=True)
class Returned:
    """A task came back."""

    index: int
    result: TaskOutcome | Failure


@dataclass(frozen=True)
class Advanced:
    """A worker is so much further with its task."""

    index: int
    amount: int


@dataclass(frozen=True)
class Lost:
    """A worker died, with these tasks in hand."""

    indices: Sequence[int]
    reason: str
    with_machine: bool = False
    """Whether all of its machine went, so that the tasks are hardly to blame."""


Event = Returned | Advanced | Lost


@dataclass(frozen=True)
class Logged:
    """A worker has something to say."""

    level: int
    event: str
    fields: Mapping[str, Any]

    def log(self, place: str) -> None:
        """Say it here."""
        log_event(self.event, level=self.level, **self.fields, place=place)


class Crew(Protocol[T_contra]):
    """The workers of an engine, as a context manager that starts them and ends them."""

    def about(self, check: Callable[[], None]) -> Any:
        """Return what is to be known about the first worker that is ready.

        :param check: called often while none is; may raise to stop
        :raises EnvironmentUnfitError: none will ever be
        """
        ...

    @property
    def size(self) -> int:
        """How many workers are ready."""
        ...

    @property
    def hands(self) -> int:
        """How many tasks they can hold."""
        ...

    def give(self, index: int, task: T_contra, *, alone: bool) -> bool:
        """Hand out a task; ``False`` where nobody has a hand free.

        :param alone: to a worker that holds nothing else and gets nothing else until this is done
        """
        ...

    def events(self, timeout: float) -> Sequence[Event]:
        """Return what has happened, waiting for something to at most ``timeout`` seconds.

        :raises EnvironmentUnfitError: no worker is left, and none will be
        """
        ...


class Station(Generic[Q, P]):
    """Does the tasks of one worker, called from as many threads as it has hands: they prepare while one finishes."""

    def __init__(self, worker: Worker[Q, P]) -> None:
        self._worker = worker
        self._preparing, self._finishing = (threading.Semaphore(worker.hands - 1) for _ in range(2))

    def do(self, task: Q, tick: Callable[[int], None] = lambda _: None) -> TaskOutcome | Failure:
        """Do a task; whatever it raises comes back as a failure."""
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


class Roster(Generic[K]):
    """Who of the workers that are ready holds what, and whether a worker is like the others.

    :param difference: see :meth:`Maker.difference`
    """

    def __init__(self, difference: Callable[[Any, Any], str | None]) -> None:
        self._difference = difference
        self._held: dict[K, set[int]] = {}
        self._hands: dict[K, int] = {}
        self._alone: set[K] = set()
        self.about: Any = None
        """Of the first worker that joined."""

    def __len__(self) -> int:
        return len(self._held)

    @property
    def hands(self) -> int:
        """How many tasks all of them can hold."""
        return sum(self._hands.values())

    def __contains__(self, worker: K) -> bool:
        return worker in self._held

    def join(self, worker: K, about: Any, *, hands: int = IN_HAND) -> str | None:
        """Take a worker up that is ready; return in words why not, if it is unlike the others.

        :param hands: tasks it can hold
        """
        if self.about is None:
            self.about = about
        elif (difference := self._difference(self.about, about)) is not None:
            return difference
        self._held[worker], self._hands[worker] = set(), hands
        return None

    def leave(self, worker: K) -> tuple[int, ...]:
        """Strike a worker off; return what it holds."""
        self._alone.discard(worker)
        self._hands.pop(worker, None)
        return tuple(sorted(self._held.pop(worker, ())))

    def assign(self, index: int, *, alone: bool) -> K | None:
        """Return the worker that gets a task, the one with least in hand; ``None`` if nobody has a hand free."""
        able = [
            one
            for one, held in self._held.items()
            if len(held) < (1 if alone else self._hands[one]) and one not in self._alone
        ]
        if not able:
            return None
        chosen = min(able, key=lambda one: len(self._held[one]))
        self._held[chosen].add(index)
        if alone:
            self._alone.add(chosen)
        return chosen

    def release(self, worker: K, index: int) -> None:
        """Take note that a task has come back."""
        self._held[worker].discard(index)
        self._alone.discard(worker)


def log_through(tell: Callable[[Logged], None]) -> None:
    """Let the run log what this process, a worker's, has to say."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            tell(Logged(record.levelno, record.getMessage(), dict(getattr(record, "fields", {}))))

    logger.handlers[:] = [Handler()]
    logger.setLevel(logging.DEBUG)
    logger.propagate = False


def leave_out(place: str, reason: str, *, others: int) -> None:
    """Go on without a worker.

    :param others: workers that are ready or may still become so
    :raises EnvironmentUnfitError: there is none
    """
    if not others:
        raise EnvironmentUnfitError(f"no worker can be had: {place}: {reason}")
    log_event("a worker is left out", level=logging.WARNING, place=place, reason=reason)
