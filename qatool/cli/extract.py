"""``qatool extract``."""

from __future__ import annotations

from qatool.cli.command import OptionsCommand
from qatool.cli.work import at_work, show_result
from qatool.options import ExtractOptions


def extract(options: ExtractOptions) -> None:
    """Import what the work needs only now, so that help and errors come at once."""
    with at_work(options) as observer:
        from qatool.commands.extract import run

        result = run(options, observer=observer)
    show_result(options, result)


command = OptionsCommand(
    "extract",
    options_class=ExtractOptions,
    callback=extract,
    help="""Answer the question of each example with a span of its context.

    One row an example goes to PATH, in input order. The same command, started again, continues where
    it was stopped.
    """,
)
