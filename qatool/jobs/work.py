"""The things that a job is made of: units, parts, stores and the work itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from qatool.errors import QatoolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from qatool.jobs.runfolder.markers import Marker


class Unit(Protocol):
    """A piece of the input that becomes one part of the output."""

    @property
    def index(self) -> int:
        """Position among all units, from 0."""
        ...

    @property
    def content_hash(self) -> str:
        """Hash of all input that the part depends on."""
        ...


@dataclass(frozen=True, kw_only=True)
class Part:
    """The output made of a unit, with counts and rejected rows."""

    table: pa.Table
    counts: Mapping[str, int]
    rejects: Sequence[Mapping[str, Any]] = field(default=())
    """The row, id, place in the input and reason of every rejected row."""


@dataclass(frozen=True)
class Finished:
    """A unit whose part was made by an earlier start."""

    index: int
    marker: Marker


@dataclass(frozen=True)
class Unreadable:
    """Marks the place where the input breaks off; the units before it are done first."""

    error: QatoolError


class Store(Protocol):
    """The place where parts are kept or sent."""

    def finished(self, unit: Unit, /) -> Marker | None:
        """Return the marker of a unit that needs no more work, ``None`` for one that does."""
        ...

    def commit(self, unit: Unit, part: Part) -> None:
        """Make a part durable."""
        ...


U = TypeVar("U", bound=Unit)
P = TypeVar("P")
Q = TypeVar("Q")
Q_co = TypeVar("Q_co", covariant=True)


@dataclass(frozen=True)
class ReadyTask(Generic[U, Q]):
    """A unit still to be done, with everything that is needed to do it."""

    unit: U
    task: Q


class TaskSource(Protocol[U, Q_co]):
    """Work that is not done where its units are read."""

    def units(self) -> Iterator[U]:
        """Yield all units in order; the same input gives the same units."""
        ...

    def task_for(self, unit: U) -> Q_co:
        """Return everything that is needed to do a unit; called in a thread."""
        ...


def tasks_of(work: TaskSource[U, Q], store: Store) -> Iterator[ReadyTask[U, Q] | Finished | Unreadable]:
    """Yield all units in order, with a task or, if finished, their marker; where the input breaks off, yield why."""
    try:
        for unit in work.units():
            marker = store.finished(unit)
            yield ReadyTask(unit, work.task_for(unit)) if marker is None else Finished(unit.index, marker)
    except QatoolError as error:
        yield Unreadable(error)


class Work(Protocol[U, P]):
    """The work itself, in two stages, so that one unit can be prepared while another is finished."""

    def units(self) -> Iterator[U]:
        """Yield all units in order; the same input gives the same units."""
        ...

    def prepare(self, unit: U) -> P:
        """Do the work on a unit that can be done ahead; called in the order of the units."""
        ...

    def finish(self, prepared: P, tick: Callable[[int], None]) -> Part:
        """Turn a prepared unit into its part.

        :param tick: called often with the amount of work done since the last call; may raise to stop
        """
        ...
