"""What all long-running commands do around their work: logging, progress, and the summary at the end."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import click

from qatool.cli.command import OptionsCommand
from qatool.cli.show.summary import show_summary
from qatool.cli.surroundings import check_surroundings
from qatool.errors import RowsRejected
from qatool.logs import harmless, log_event, setup_logging
from qatool.observers import make_observer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from qatool.extraction.answering.sample import Sample
    from qatool.observers import Observer
    from qatool.options import ScreenOptions


_LOGGED = (
    "examples", "answered", "no_answer", "odd", "rejected", "taken_over", "windows", "windows_read", "questions",
    "questions_answered", "seconds",
    "examples_per_second", "windows_per_second", "output", "rejects", "model", "device", "precision",
)  # fmt: skip
"""Keys of a summary that are logged in JSON."""


class Result(Protocol):
    """The result of a command that :func:`show_result` can show."""

    @property
    def summary(self) -> Mapping[str, Any]:
        """Counts, speeds and paths; see :func:`qatool.cli.show.summary.show_summary`."""

    @property
    def samples(self) -> Sequence[Sample]:
        """A few answers to show."""


@contextmanager
def at_work(options: ScreenOptions) -> Iterator[Observer]:
    """Set up logging and yield the progress display, which is closed at the end, also after an error.

    :raises UsageError: the log file is an input
    :raises OutputError: the log file cannot be written
    """
    _check_log_file(options)
    setup_logging(options)
    check_surroundings()
    context = click.get_current_context(silent=True)
    if context is not None and isinstance(context.command, OptionsCommand):
        for name, near in context.command.mistaken_variables():
            log_event("variable sets nothing", level=logging.WARNING, variable=name, did_you_mean=near)
        for weaker, stronger in context.command.overruled:
            log_event("an option is left out", routine=True, option=weaker, contradicted_by=stronger)
        if context.command.set_elsewhere:
            log_event("options set elsewhere", routine=True, options=", ".join(context.command.set_elsewhere))
    observer = make_observer(options, sys.stderr)
    try:
        yield observer
    finally:
        observer.finished()


def _check_log_file(options: ScreenOptions) -> None:
    """Check that the log file is not an input.

    :raises UsageError: it is
    """
    inputs = getattr(options, "inputs", ())
    if options.log_file is not None and inputs:
        from qatool.files.output.own import check_log_file

        check_log_file(options.log_file, inputs)


def show_result(options: ScreenOptions, result: Result) -> None:
    """Show the summary on standard error.

    :raises RowsRejected: rows were rejected; raised after the summary is shown
    """
    summary = result.summary
    if options.logs_json:
        log_event("summary", **{name: summary[name] for name in _LOGGED if name in summary})
    elif not options.quiet:
        show_summary(summary, result.samples, stream=sys.stderr)
    where = f"see {summary['rejects']} for" if summary.get("rejects") else "the column error holds"
    tell_rejected(summary.get("rejected", 0), f"; {where} the reasons")


def tell(options: ScreenOptions, lines: Iterable[str], **figures: Any) -> None:
    """Show on standard error what a command did: as lines or, if the log there is JSON, as an event with figures."""
    if options.logs_json:
        log_event("summary", **figures)
    elif not options.quiet:
        sys.stderr.writelines(f"{harmless(line)}\n" for line in lines)


def tell_rejected(count: int, more: str) -> None:
    """End a command whose work is done, with the exit code for rejected rows if there were any.

    :param count: number of rejected rows
    :param more: continuation of "3 rows were rejected"
    :raises RowsRejected: ``count`` is not 0
    """
    if count:
        rows = "1 row was" if count == 1 else f"{count:,} rows were"
        raise RowsRejected(f"{rows} rejected{more}")
