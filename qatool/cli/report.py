"""``qatool report``."""

from __future__ import annotations

import click

from qatool.cli.command import OptionsCommand
from qatool.logs import harmless
from qatool.options import ReportOptions


def report(options: ReportOptions) -> None:
    """Write the report, and say on standard error what it shows.

    :raises QatoolError: see :func:`qatool.commands.report.run`
    """
    from qatool.commands.report import run

    result = run(options)
    line = f"{result.output}: {result.shown:,} of {result.answers:,} answers shown, {result.size / 1e6:.1f} MB"
    if result.without_context:
        line += f"; {result.without_context:,} of them are not in the corpus as it is now"
    click.echo(harmless(line), err=True)


command = OptionsCommand(
    "report",
    options_class=ReportOptions,
    callback=report,
    help="""Make one self-contained HTML page about answers: figures, charts, and answers in their contexts.

    The page opens offline. It shows a selection of the answers, and says which. Needs the extra qatool[report].
    """,
)
