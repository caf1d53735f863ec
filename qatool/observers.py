"""Progress displays: how far a command is, on standard error while it works."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Protocol, TextIO

from qatool.logs import harmless, log_event
from qatool.wording import counted, duration, speed

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console
    from rich.progress import Progress, TaskID

    from qatool.options import ScreenOptions

PLAIN_INTERVAL = 30.0
"""Seconds between two plain progress lines."""
_WORDS, _SPEEDS, _TIME = 18, 28, 8
"""Widths beside a bar, in characters with the gap before: of the description, of the speeds, and of a time."""


class Observer(Protocol):
    """A progress display. :meth:`advanced` may be called from any thread."""

    def started(self, total: int | None, message: str, *, noun: str = "example") -> None:
        """Begin the display.

        :param total: how many examples there are, ``None`` if unknown
        :param message: what is being done
        :param noun: what is counted, if not examples
        """

    def advanced(self, examples: int, windows: int) -> None:
        """Add examples done and windows read since the last call; less than 0 for examples that are not kept."""

    def message(self, text: str) -> None:
        """Show what is being done now."""

    def finished(self) -> None:
        """End the display; further calls do nothing."""


class SilentObserver:
    """Shows nothing."""

    def started(self, total: int | None, message: str, *, noun: str = "example") -> None:
        """Show nothing."""

    def advanced(self, examples: int, windows: int) -> None:
        """Show nothing."""

    def message(self, text: str) -> None:
        """Show nothing."""

    def finished(self) -> None:
        """Show nothing."""


class PlainObserver:
    """Writes a plain line at most every ``PLAIN_INTERVAL`` seconds, and one when the work ends.

    :param clock: returns seconds since some fixed moment
    """

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._lock = threading.Lock()
        self._total: int | None = None
        self._doing, self._noun = "", "example"
        self._examples = self._windows = 0
        self._since: float | None = None
        self._last = 0.0

    def started(self, total: int | None, message: str, *, noun: str = "example") -> None:
        """Start the clock; the first line follows after ``PLAIN_INTERVAL``."""
        with self._lock:
            self._total, self._doing, self._noun = total, message, noun
            self._examples = self._windows = 0
            self._since = self._last = self._clock()

    def advanced(self, examples: int, windows: int) -> None:
        """Count, and write a line when one is due."""
        with self._lock:
            self._examples += examples
            self._windows += windows
            self._write_if_due()

    def message(self, text: str) -> None:
        """Use ``text`` in the next line."""
        with self._lock:
            self._doing = text
            self._write_if_due()

    def finished(self) -> None:
        """Write the closing line."""
        with self._lock:
            if self._since is not None:
                seconds = self._clock() - self._since
                self._since = None
                self._write(f"ended after {duration(seconds)}: {self._counts(seconds)}")

    def _write_if_due(self) -> None:
        now = self._clock()
        if self._since is None or now - self._last < PLAIN_INTERVAL:
            return
        self._last = now
        seconds = now - self._since
        left = ""
        if self._total is not None and 0 < self._examples < self._total:
            left = f", {duration(seconds * (self._total - self._examples) / self._examples)} left"
        self._write(f"{self._doing}, {duration(seconds)}: {self._counts(seconds)}{left}")

    def _counts(self, seconds: float) -> str:
        count = counted(self._examples, self._noun)
        if self._total:
            share = 100 * self._examples / self._total
            count = f"{self._examples:,} of {counted(self._total, self._noun)} ({share:.1f} %)"
        return f"{count}, {speed(self._examples, self._windows, seconds, noun=self._noun)}"

    def _write(self, line: str) -> None:
        self._stream.write(f"{harmless(line)}\n")
        self._stream.flush()


class LoggedObserver(PlainObserver):
    """Logs the plain lines as events, so that standard error has one format."""

    def _write(self, line: str) -> None:
        log_event("progress", text=line)


class BarObserver:
    """A bar with counts, speeds and times, redrawn in place; a spinner when the total is unknown.

    Other lines that are written to ``sys.stderr`` meanwhile, such as log lines, appear above the bar.
    """

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._lock = threading.RLock()
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._examples = self._windows = 0
        self._since = 0.0
        self._noun = "example"

    def started(self, total: int | None, message: str, *, noun: str = "example") -> None:
        """Draw the bar."""
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.table import Column

        known, width = total is not None, self._console.width
        # On a narrow screen, the most important columns remain: the counts, then the times.
        room = width - len(f"{total}/{total}")
        words = Column(no_wrap=True, overflow="ellipsis", max_width=max(_WORDS, width // 4))
        shown = (
            (TextColumn("{task.description}", markup=False, table_column=words), room >= 2 * _TIME + _WORDS + 3),
            (SpinnerColumn(), not known),
            (BarColumn(bar_width=None), known),
            (MofNCompleteColumn(table_column=Column(no_wrap=True)), True),
            (TextColumn("{task.fields[speed]}", markup=False), room >= 2 * _TIME + _WORDS + _SPEEDS + 3),
            (TimeElapsedColumn(table_column=Column(no_wrap=True)), room >= 2 * _TIME + _WORDS + 3),
            (TimeRemainingColumn(table_column=Column(no_wrap=True)), known and room >= _TIME),
        )
        progress = Progress(
            *(column for column, is_shown in shown if is_shown),
            console=self._console,
            refresh_per_second=4,
            expand=known,
        )
        with self._lock:
            self.finished()
            self._examples = self._windows = 0
            self._since, self._noun = self._clock(), noun
            self._progress, self._task = progress, progress.add_task(harmless(message), total=total, speed="")
            progress.start()

    def advanced(self, examples: int, windows: int) -> None:
        """Move the bar."""
        with self._lock:
            self._examples += examples
            self._windows += windows
            if self._progress is not None and self._task is not None:
                seconds = self._clock() - self._since
                now = speed(self._examples, self._windows, seconds, brief=True, noun=self._noun)
                self._progress.update(self._task, advance=examples, speed=now)

    def message(self, text: str) -> None:
        """Show ``text`` before the bar."""
        with self._lock:
            if self._progress is not None and self._task is not None:
                self._progress.update(self._task, description=harmless(text))

    def finished(self) -> None:
        """Stop redrawing the bar; later output appears below it."""
        with self._lock:
            if self._progress is not None:
                self._progress.stop()
                self._progress = None


def is_terminal(stream: TextIO) -> bool:
    """Return whether ``stream`` is a terminal that can show colours, bars and panels."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def make_observer(options: ScreenOptions, stderr: TextIO) -> Observer:
    """Return the progress display that was asked for, as far as ``stderr`` can show it.

    A bar needs a terminal: it is never written to a file or to a dumb terminal, even if asked for.
    """
    if options.quiet or options.progress == "none":
        return SilentObserver()
    if options.progress == "plain" or not is_terminal(stderr):
        return LoggedObserver(stderr) if options.logs_json else PlainObserver(stderr)
    from rich.console import Console

    return BarObserver(Console(file=stderr))
