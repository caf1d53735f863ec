"""``qatool extract``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from qatool.cli.command import OptionsCommand
from qatool.cli.work import at_work, show_result
from qatool.logs import harmless
from qatool.options import ExtractOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qatool.extraction.runs.forecast import Forecast


def extract(options: ExtractOptions) -> None:
    """Answer the input and show a summary or, with ``--dry-run``, print what the work will take.

    :raises RowsRejected: the work is done, but rows were rejected
    :raises QatoolError: see :func:`qatool.commands.extract.run`
    """
    with at_work(options) as observer:
        if options.dry_run:
            from qatool.commands.extract import forecast

            found = forecast(options, observer=observer)
            show_forecast(options, found)
            refuse_bad_rows(options, found)
            return
        from qatool.commands.extract import run

        result = run(options, observer=observer)
    show_result(options, result)


def show_forecast(options: ExtractOptions, found: Forecast) -> None:
    """Print a forecast as text or, with ``--summary``, write it as JSON.

    :raises OutputError: the file of ``--summary`` cannot be written
    """
    from qatool.cli.show.forecast import forecast_lines

    if options.summary is None:
        for line in forecast_lines(found):
            click.echo(harmless(line))
        return
    text = json.dumps(asdict(found), indent=2)
    if options.summary == "-":
        click.echo(text)
    else:
        from qatool.files.storage.atomic import write_bytes
        from qatool.files.storage.locations import location

        write_bytes(location(options.summary), (text + "\n").encode())


def refuse_bad_rows(options: ExtractOptions, found: Forecast) -> None:
    """Fail if the run would fail because of bad rows.

    :raises InputError: there is a bad row (``--on-error fail``), or more than ``--max-errors``
    """
    from qatool.files.sources.rows import bad_row, too_many_bad

    if found.rejected and options.on_error == "fail":
        raise bad_row(found.first_reject or "")
    if options.max_errors is not None and found.rejected > options.max_errors:
        raise too_many_bad(found.rejected, options.max_errors)


def late_problems(values: Mapping[str, Any]) -> list[str]:
    """Return the problems with the names of the output and of columns, to be reported with all other problems.

    :param values: values of the options, by field
    """
    from qatool.files.requested import name_problems

    return name_problems(
        values["output"],
        [rename for rename in values.get("column", ()) if "=" in rename],
        values.get("keep", ()),
        documents=bool(values.get("question")) or values.get("questions") is not None,
        snippet=values.get("snippet") is not None,
    )


command = OptionsCommand(
    "extract",
    options_class=ExtractOptions,
    callback=extract,
    late_problems=late_problems,
    help="""Answer the question of each example with a span of its context.

    Writes one row per example to PATH, in input order. The same command, started again, continues where
    it was stopped.
    """,
)
