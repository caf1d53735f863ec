"""The local engine: one process; the next unit is prepared and the last one written while one is worked on."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol

from qatool.jobs.ahead import ahead
from qatool.jobs.work import P, Part, U, Unit, Work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from qatool.jobs.folder import Marker
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
    stages: Counter[str] = field(default_factory=Counter)
    """Milliseconds by stage: ``prepare``, ``read``, ``write``; they overlap."""

    def add(self, counts: Mapping[str, int], *, resumed: bool = False) -> None:
        """Add the counts of a part."""
        self.units += 1
        self.counts.update(counts)
        if resumed:
            self.resumed_units += 1
            self.resumed.update(counts)


@dataclass(frozen=True)
class _Ready(Generic[U, P]):
    unit: U
    prepared: P


@dataclass(frozen=True)
class _Finished:
    marker: Marker


def run_local(
    work: Work[U, P],
    store: Store,
    totals: Totals,
    *,
    stop: Stop,
    tick: Callable[[int], None],
    done: Callable[[Totals, Part | None], None],
) -> None:
    """Do all the work there is.

    :param totals: filled in as the work goes on
    :param tick: called often, with the amount of work done in the unit in hand
    :param done: called after every unit with the totals, and its part (``None`` when an earlier start had done it)
    """
    began = time.monotonic()

    def units() -> Iterator[_Ready[U, P] | _Finished]:
        for unit in work.units():
            marker = store.finished(unit)
            if marker is not None:
                yield _Finished(marker)
                continue
            started = time.monotonic()
            prepared = work.prepare(unit)
            totals.stages["prepare"] += _since(started)
            yield _Ready(unit, prepared)

    def write(unit: U, part: Part) -> None:
        started = time.monotonic()
        store.commit(unit, part, seconds=started - began)
        totals.stages["write"] += _since(started)

    def checked(amount: int) -> None:
        stop.check(may_run_out=totals.units > totals.resumed_units)
        tick(amount)

    with ahead(units()) as items, ThreadPoolExecutor(1, thread_name_prefix="qatool-write") as writer:
        writing: Future[None] | None = None
        try:
            for item in items:
                checked(0)
                if isinstance(item, _Finished):
                    totals.add(item.marker.counts, resumed=True)
                    done(totals, None)
                    continue
                started = time.monotonic()
                part = work.finish(item.prepared, checked)
                totals.stages["read"] += _since(started)
                if writing is not None:
                    writing.result()
                writing = writer.submit(write, item.unit, part)
                totals.add(part.counts)
                done(totals, part)
        finally:
            if writing is not None:
                writing.result()


def _since(started: float) -> int:
    """Return the milliseconds since ``started``."""
    return round(1000 * (time.monotonic() - started))
