"""What every long-running command does around its work: logging, progress, and the summary at the end."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import click

from qatool.cli.command import OptionsCommand
from qatool.cli.show.summary import show_summary
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
"""What a log in JSON tells of a summary."""


class Result(Protocol):
    """What the functions behind such commands return."""

    @property
    def summary(self) -> Mapping[str, Any]:
        """Counts, speeds and paths; see :func:`qatool.cli.show.summary.show_summary`."""

    @property
    def samples(self) -> Sequence[Sample]:
        """A few answers to show."""


@contextmanager
def at_work(options: ScreenOptions) -> Iterator[Observer]:
    """Set up logging and yield the progress display; it is closed however the work ends."""
    _check_log_file(options)
    setup_logging(options)
    context = click.get_current_context(silent=True)
    if context is not None and isinstance(context.command, OptionsCommand):
        for name, near in context.command.mistaken_variables():
            log_event("variable sets nothing", level=logging.WARNING, variable=name, did_you_mean=near)
        for weaker, stronger in context.command.overruled:
            log_event("an option is left out", routine=True, option=weaker, contradicted_by=stronger)
    observer = make_observer(options, sys.stderr)
    try:
        yield observer
    finally:
        observer.finished()


def _check_log_file(options: ScreenOptions) -> None:
    """Make sure that no input becomes the log.

    :raises UsageError: one would
    """
    inputs = getattr(options, "inputs", ())
    if options.log_file is not None and inputs:
        from qatool.files.output.own import check_log_file

        check_log_file(options.log_file, inputs)


def show_result(options: ScreenOptions, result: Result) -> None:
    """Show the summary on standard error.

    :raises RowsRejected: after it, when rows were set aside
    """
    summary = result.summary
    if options.logs_json:
        log_event("summary", **{name: summary[name] for name in _LOGGED if name in summary})
    elif not options.quiet:
        show_summary(summary, result.samples, stream=sys.stderr)
    where = f"see {summary['rejects']} for" if summary.get("rejects") else "the column error holds"
    tell_rejected(summary.get("rejected", 0), f"; {where} the reasons")


def tell(options: ScreenOptions, lines: Iterable[str], **figures: Any) -> None:
    """Say what a command did, on standard error: in lines, or in a log of JSON as its figures."""
    if options.logs_json:
        log_event("summary", **figures)
    elif not options.quiet:
        sys.stderr.writelines(f"{harmless(line)}\n" for line in lines)


def tell_rejected(count: int, more: str) -> None:
    """End a command whose work is done, but for bad rows.

    :param more: what follows on "3 rows were rejected"
    :raises RowsRejected: there were any
    """
    if count:
        rows = "1 row was" if count == 1 else f"{count:,} rows were"
        raise RowsRejected(f"{rows} rejected{more}")
