"""``qatool calibrate``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from qatool.cli.command import OptionsCommand
from qatool.cli.work import at_work, tell_rejected
from qatool.logs import harmless
from qatool.options import CalibrateOptions
from qatool.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qatool.commands.calibrate import CalibrateResult
    from qatool.evaluation.measures.calibration import Quality


_FEW = 100
"""With fewer questions than this, the fitted values are mostly chance."""


def calibrate(options: CalibrateOptions) -> None:
    """Fit a model's scores and threshold, store them, and print them with their effect.

    :raises RowsRejected: rows were bad and left out
    :raises QatoolError: see :func:`qatool.commands.calibrate.run`
    """
    with at_work(options) as observer:
        from qatool.commands.calibrate import run, told

        result = run(options, observer=observer)
    if options.json:
        found = {
            **asdict(result.calibration),
            "no_answer_threshold": result.no_answer_threshold,
            "questions": result.questions,
            "left_out": result.left_out,
            "before": told(result.before),
            "after": told(result.after),
            "settings": str(result.settings),
            "stored": result.stored,
        }
        click.echo(json.dumps(found, indent=2))
    elif not options.quiet:
        for line in _lines(result):
            click.echo(harmless(line))
    tell_rejected(result.left_out, " and left out")


def _lines(result: CalibrateResult) -> Iterator[str]:
    from qatool.evaluation.measures.curves import threshold_text

    left_out = f", {counted(result.left_out, 'bad row')} left out" if result.left_out else ""
    yield f"{counted(result.questions, 'question')}{left_out}"
    if result.questions < _FEW:
        yield f"these are few: what is fitted may be far off; give {_FEW} questions or more"
    fitted = result.calibration
    yield f"temperature {fitted.temperature:g}"
    if result.no_answer_threshold is None:
        yield "not fitted, as every question has an answer: log odds of an answer, no-answer threshold; earlier"
        yield "values are dropped"
    else:
        yield f"log odds of an answer: {fitted.answerable_slope:g} times the model's, {fitted.answerable_bias:+g}"
        yield f"no-answer threshold {threshold_text(result.no_answer_threshold)}"
    yield ""
    yield "              before     after"
    for label, name, digits in (
        ("exact", "exact", 2),
        ("F1", "f1", 2),
        ("log loss", "nll", 4),
        ("calib. error", "ece", 4),
    ):
        before, after = (getattr(one, name) for one in (result.before, result.after))
        yield f"{label:<12}{before:>8.{digits}f}  {after:>8.{digits}f}"
    yield ""
    yield "reliability: mean score, and share of best spans that are right"
    yield "          before              after"
    yield from map("  ".join, zip(_bins(result.before), _bins(result.after), strict=True))
    yield ""
    yield f"stored in {result.settings}" if result.stored else f"nothing stored ({result.settings} is as it was)"


def _bins(found: Quality) -> list[str]:
    return [f"    {one.confidence:>6.3f}  {one.exact:>6.3f}" for one in found.bins]


command = OptionsCommand(
    "calibrate",
    options_class=CalibrateOptions,
    callback=calibrate,
    help="""Fit a model's scores, so that they are probabilities, and its no-answer threshold on labelled questions.

    The model must not have been trained on these questions. The fitted values are stored in qatool.json in the
    model's folder, and extract uses them from then on.
    """,
)
