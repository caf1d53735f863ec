"""``qatool status``."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from qatool.cli.command import OptionsCommand
from qatool.logs import harmless
from qatool.options import StatusOptions


def status(options: StatusOptions) -> None:
    """Print how far an extraction is.

    :raises QatoolError: see :func:`qatool.commands.status.run`
    """
    from qatool.cli.show.status import status_lines
    from qatool.commands.status import run

    state = run(options)
    if options.json:
        click.echo(json.dumps(asdict(state)))
        return
    for line in status_lines(state):
        click.echo(harmless(line))


command = OptionsCommand(
    "status",
    options_class=StatusOptions,
    callback=status,
    help="""Show how far the extraction into OUTPUT is: examples, speed and time left.

    Only reads what the run wrote and does not disturb it, so it also works while the run is under way.
    """,
)
