"""What all engines share: the totals of a run, the steps it reports, and the check whether to stop."""

from __future__ import annotations

import time
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
    """The counts of all parts, including those of earlier starts."""
    resumed: Counter[str] = field(default_factory=Counter)
    """The counts of the parts that earlier starts made."""
    stages: dict[str, float] = field(default_factory=lambda: {"prepare": 0.0, "read": 0.0, "write": 0.0})
    """Seconds spent in each stage, summed over units; stages of different units may overlap."""

    def add(self, counts: Mapping[str, int], *, resumed: bool = False) -> None:
        """Add the counts of a part."""
        self.units += 1
        self.counts.update(counts)
        if resumed:
            self.resumed_units += 1
            self.resumed.update(counts)


@dataclass(frozen=True, kw_only=True)
class Step:
    """A unit that is done, which means that its part is durable."""

    index: int
    counts: Mapping[str, int]
    rejects: Sequence[Mapping[str, Any]]
    resumed: bool
    """Whether an earlier start made the part."""
    seconds: float = 0.0
    """The time that the unit added to the run: that since the unit before was done, as units may overlap. 0 where
    an earlier start made the part."""


@dataclass(kw_only=True)
class RunMonitor:
    """Watches over a run: what it has done so far, and the functions to call as it goes on."""

    stop: Stop
    tick: Callable[[int], None]
    """Called often, with the amount of work done since the last call, wherever it was done."""
    done: Callable[[Step], None]
    """Called after every unit, once its part is durable and counted; may raise to stop."""
    totals: Totals = field(default_factory=Totals)
    _last: float = field(default_factory=time.monotonic, init=False)
    """When the last unit was done; until then, when the monitor was made."""

    def check(self) -> None:
        """Raise if the run is to stop; a time limit stops it only after at least one unit is done.

        Otherwise, repeated starts with too short a limit would never make any progress.
        """
        self.stop.check(may_run_out=self.totals.units > self.totals.resumed_units)

    def resumed(self, item: Finished) -> None:
        """Count and report a unit that an earlier start has done."""
        marker = item.marker
        self._last = time.monotonic()
        self.totals.add(marker.counts, resumed=True)
        self.done(Step(index=item.index, counts=marker.counts, rejects=marker.rejects, resumed=True))

    def committed(self, index: int, part: Part) -> None:
        """Count and report a unit whose part has become durable."""
        before, self._last = self._last, time.monotonic()
        seconds = self._last - before
        self.totals.add(part.counts)
        self.done(Step(index=index, counts=part.counts, rejects=part.rejects, resumed=False, seconds=seconds))
