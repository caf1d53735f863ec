"""``qatool evaluate``."""

from __future__ import annotations

import json

import click

from qatool.cli.command import OptionsCommand
from qatool.errors import QualityGateError
from qatool.logs import harmless
from qatool.options import EvaluateOptions


def evaluate(options: EvaluateOptions) -> None:
    """Evaluate answers, and print the figures.

    :raises QualityGateError: F1 is below ``--min-f1``; raised after the figures are printed
    :raises QatoolError: see :func:`qatool.commands.evaluate.run`
    """
    from qatool.cli.show.figures import table_lines
    from qatool.commands.evaluate import run

    result = run(options)
    if options.json:
        click.echo(json.dumps(result.figures, indent=2))
    else:
        for line in table_lines(result.figures):
            click.echo(harmless(line))
    if not result.passed:
        raise QualityGateError(
            f"F1 is {result.figures['f1']:.2f}, below --min-f1 {options.min_f1:g}; improve the answers or lower it"
        )


command = OptionsCommand(
    "evaluate",
    options_class=EvaluateOptions,
    callback=evaluate,
    help="""Compare answers with references: EM and F1 as the official SQuAD scripts define them.

    Also shows what other no-answer thresholds would give, how well scores are calibrated, which kinds of questions
    are hard, and whether other answers are better.
    """,
)
