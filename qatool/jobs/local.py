"""The local engine: one process; the next unit is prepared while one is worked on.

A part is durable before the next unit is finished, so a kill costs the unit in hand, and what little of the next one
was begun ahead.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol

from qatool.jobs.ahead import ahead
from qatool.jobs.work import Finished, P, Part, U, Unit, Work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from qatool.jobs.markers import Marker
    from qatool.jobs.stopping import Stop


class Store(Protocol):
    """Where parts go."""

    def finished(self, unit: Unit, /) -> Marker | None:
        """Return the marker of a unit that needs no more work."""
        ...

    def commit(self, unit: Unit, part: Part, *, seconds: float) -> None:
        """Make a part durable."""
        ...


@dataclass
class Totals:
    """What a run has done so far."""

    units: int = 0
    resumed_units: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    """Of all parts, those of earlier starts included."""
    resumed: Counter[str] = field(default_factory=Counter)
    """Of the parts that earlier starts had done."""
    stages: dict[str, float] = field(default_factory=lambda: {"prepare": 0.0, "read": 0.0, "write": 0.0})
    """Seconds by stage; ``prepare`` overlaps with the others."""

    def add(self, counts: Mapping[str, int], *, resumed: bool = False) -> None:
        """Add the counts of a part."""
        self.units += 1
        self.counts.update(counts)
        if resumed:
            self.resumed_units += 1
            self.resumed.update(counts)


@dataclass(frozen=True, kw_only=True)
class Step:
    """A unit that is done: its part is durable."""

    index: int
    counts: Mapping[str, int]
    rejects: Sequence[Mapping[str, Any]]
    resumed: bool
    """Whether an earlier start had done it."""
    seconds: float = 0.0
    """From the moment it was prepared."""


@dataclass(frozen=True)
class _Ready(Generic[U, P]):
    unit: U
    prepared: P


def run_local(
    work: Work[U, P],
    store: Store,
    totals: Totals,
    *,
    stop: Stop,
    tick: Callable[[int], None],
    done: Callable[[Step], None],
) -> None:
    """Do all the work there is.

    :param totals: filled in as the work goes on
    :param tick: called often, with the amount of work done in the unit in hand
    :param done: called after every unit, when its part is durable and counted; it may raise to stop
    """
    began = time.monotonic()

    def units() -> Iterator[_Ready[U, P] | Finished]:
        for unit in work.units():
            marker = store.finished(unit)
            if marker is not None:
                yield Finished(unit.index, marker)
                continue
            started = time.monotonic()
            prepared = work.prepare(unit)
            totals.stages["prepare"] += time.monotonic() - started
            yield _Ready(unit, prepared)

    def checked(amount: int = 0) -> None:
        # At least one unit a start, whatever the time limit: else a start could be without progress for ever.
        stop.check(may_run_out=totals.units > totals.resumed_units)
        tick(amount)

    with ahead(units(), poll=checked) as items:
        for item in items:
            checked()
            if isinstance(item, Finished):
                marker = item.marker
                totals.add(marker.counts, resumed=True)
                done(Step(index=item.index, counts=marker.counts, rejects=marker.rejects, resumed=True))
                continue
            started = time.monotonic()
            part = work.finish(item.prepared, checked)
            read = time.monotonic()
            store.commit(item.unit, part, seconds=read - began)
            written = time.monotonic()
            totals.stages["read"] += read - started
            totals.stages["write"] += written - read
            totals.add(part.counts)
            done(
                Step(
                    index=item.unit.index,
                    counts=part.counts,
                    rejects=part.rejects,
                    resumed=False,
                    seconds=written - started,
                )
            )
