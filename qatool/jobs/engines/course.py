"""What all engines have in common: where parts go, how far a run is, and who looks on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from qatool.jobs.stopping import Stop
    from qatool.jobs.work import Finished, Part


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
    """Seconds by stage; those of units overlap, ``read`` and ``write`` only where a card reads."""

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


@dataclass(frozen=True, kw_only=True)
class Course:
    """The course of a run: what it has done so far, and who is told."""

    stop: Stop
    tick: Callable[[int], None]
    """Called often, with the amount of work done anywhere."""
    done: Callable[[Step], None]
    """Called after every unit, when its part is durable and counted; it may raise to stop."""
    totals: Totals = field(default_factory=Totals)

    def check(self) -> None:
        """Stop if that is asked for, but for a time limit not before one unit is done.

        Else starts with too short a limit could be without progress for ever.
        """
        self.stop.check(may_run_out=self.totals.units > self.totals.resumed_units)

    def resumed(self, item: Finished) -> None:
        """Take note of a unit that an earlier start has done."""
        marker = item.marker
        self.totals.add(marker.counts, resumed=True)
        self.done(Step(index=item.index, counts=marker.counts, rejects=marker.rejects, resumed=True))

    def committed(self, index: int, part: Part, *, seconds: float) -> None:
        """Take note of a unit whose part is durable now.

        :param seconds: that it took
        """
        self.totals.add(part.counts)
        self.done(Step(index=index, counts=part.counts, rejects=part.rejects, resumed=False, seconds=seconds))
