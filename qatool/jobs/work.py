"""What a job is made of."""

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
        """Hash of all of the input that the part depends on."""
        ...


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a unit became, and what happened on the way."""

    table: pa.Table
    counts: Mapping[str, int]
    rejects: Sequence[Mapping[str, Any]] = field(default=())
    """Row, id, place and reason of every rejected row."""


@dataclass(frozen=True)
class Finished:
    """A unit whose part was made by an earlier start."""

    index: int
    marker: Marker


@dataclass(frozen=True)
class Unreadable:
    """Stands where the input breaks off: what comes before is done first."""

    error: QatoolError


class Store(Protocol):
    """Where parts go."""

    def finished(self, unit: Unit, /) -> Marker | None:
        """Return the marker of a unit that needs no more work."""
        ...

    def commit(self, unit: Unit, part: Part, *, seconds: float) -> None:
        """Make a part durable."""
        ...


U = TypeVar("U", bound=Unit)
P = TypeVar("P")
Q = TypeVar("Q")
Q_co = TypeVar("Q_co", covariant=True)


@dataclass(frozen=True)
class HandedOut(Generic[U, Q]):
    """A unit still to be done, with all that it takes to do it."""

    unit: U
    task: Q


class HandingOut(Protocol[U, Q_co]):
    """Work that is done elsewhere than where its units are read."""

    def units(self) -> Iterator[U]:
        """Yield all units in order; the same input gives the same units."""
        ...

    def hand_out(self, unit: U) -> Q_co:
        """Return all that it takes to do a unit. Called in a thread."""
        ...


def handed_out(work: HandingOut[U, Q], store: Store) -> Iterator[HandedOut[U, Q] | Finished | Unreadable]:
    """Yield all units in order, finished ones by their marker; where the input breaks off, why."""
    try:
        for unit in work.units():
            marker = store.finished(unit)
            yield HandedOut(unit, work.hand_out(unit)) if marker is None else Finished(unit.index, marker)
    except QatoolError as error:
        yield Unreadable(error)


class Work(Protocol[U, P]):
    """The work itself, in two stages so that one unit can be prepared while another is finished."""

    def units(self) -> Iterator[U]:
        """Yield all units in order; the same input gives the same units."""
        ...

    def prepare(self, unit: U) -> P:
        """Do what can be done ahead, in order of the units."""
        ...

    def finish(self, prepared: P, tick: Callable[[int], None]) -> Part:
        """Turn a prepared unit into its part.

        :param tick: called with the amount of work done, often; it may raise to stop
        """
        ...
