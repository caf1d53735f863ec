"""``qatool export``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from qatool.cli.command import OptionsCommand
from qatool.cli.work import at_work, tell_rejected
from qatool.logs import harmless
from qatool.options import ExportOptions
from qatool.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qatool.commands.export import ExportResult

_FEW = 100
"""With fewer questions than this, a comparison says little."""


def export(options: ExportOptions) -> None:
    """Export a model for OpenVINO, and print its comparison with the original.

    :raises RowsRejected: rows of the calibration data were bad and left out
    :raises QatoolError: see :func:`qatool.commands.export.run`
    """
    with at_work(options) as observer:
        from qatool.commands.export import run

        result = run(options, observer=observer)
    if options.json:
        told = {
            "folder": str(result.folder),
            "precision": result.precision,
            "bytes": result.size,
            **result.comparison._asdict(),
            "left_out": result.left_out,
        }
        click.echo(json.dumps(told, indent=2))
    elif not options.quiet:
        for line in _lines(result):
            click.echo(harmless(line))
    tell_rejected(result.left_out, " and left out")


def _lines(result: ExportResult) -> Iterator[str]:
    found = result.comparison
    yield f"{result.precision}, {result.size / 1e6:.1f} MB, in {result.folder}"
    yield ""
    of_what = "" if found.labelled else ", the model itself being right"
    yield f"{counted(found.questions, 'question')} ({found.on}){of_what}"
    if found.questions < _FEW:
        yield "these are few: the model may answer others worse; give more of them"
    yield "              before     after"
    yield f"exact       {found.exact_before:>8.2f}  {found.exact_after:>8.2f}"
    yield f"F1          {found.f1_before:>8.2f}  {found.f1_after:>8.2f}"
    yield f"{found.same:.2f} % of the answers are the same"


command = OptionsCommand(
    "export",
    options_class=ExportOptions,
    callback=export,
    help="""Export a model for OpenVINO, optionally quantised to int8.

    DIR becomes a folder that extract takes as --model. Its answers are compared with those of the model it was made
    from before anything is written.
    """,
)
