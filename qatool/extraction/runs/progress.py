"""Show and log the progress of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qatool.logs import log_event

if TYPE_CHECKING:
    from qatool.extraction.engines.job import ExtractionJob
    from qatool.jobs.engines.monitor import Step, Totals
    from qatool.observers import Observer


class RunProgress:
    """Keeps the display and the log up to date with a run.

    :param totals: what the run has done so far; the engine updates it
    :param total: number of examples in the input, ``None`` if it is not known
    """

    def __init__(self, job: ExtractionJob, totals: Totals, *, total: int | None, observer: Observer) -> None:
        self._job = job
        self._totals = totals
        self._total = total
        self._observer = observer
        self._began = False
        self._read = 0
        """Windows of the current shard that have been read."""
        self._shown = 0
        """Examples of the current shard that the display counts as done."""

    def begin(self) -> None:
        """Start the display, unless it has started; call it once it is known how much earlier starts have done."""
        if self._began:
            return
        self._began = True
        resumed = self._totals.resumed["examples"]
        if self._totals.resumed_units:
            log_event("resumed", shards=self._totals.resumed_units, examples=resumed)
        self._observer.started(None if self._total is None else max(0, self._total - resumed), "answering")

    def tick(self, windows: int) -> None:
        """Add windows that have been read to the display."""
        if windows:
            self.begin()
        self._read += windows
        step = self._job.in_hand.examples_at(self._read) - self._shown
        self._shown += step
        self._observer.advanced(step, windows)

    def stopped(self) -> None:
        """Take the examples of the shard that is not done back from the display, as its part is not kept."""
        self._observer.advanced(-self._shown, 0)
        self._shown = 0

    def done(self, step: Step) -> None:
        """Show and log a shard that is done; shards that earlier starts have done come first, and are not shown."""
        if not step.resumed:
            self.begin()
        if not self._began:
            return
        self._observer.advanced(step.counts["examples"] - self._shown, 0)
        self._read = self._shown = 0
        log_event(
            "shard done",
            routine=True,
            shard=step.index,
            examples=step.counts["examples"],
            windows=step.counts["windows_read"],
            taken_over=step.counts["taken_over"],
            rejected=step.counts["rejected"],
            resumed=step.resumed,
            seconds=round(step.seconds, 3),
        )
