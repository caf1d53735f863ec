"""``qatool finetune``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from qatool.cli.command import OptionsCommand
from qatool.cli.work import at_work, tell, tell_rejected
from qatool.observers import is_terminal
from qatool.options import FinetuneOptions
from qatool.wording import duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qatool.commands.finetune import FinetuneResult


def finetune(options: FinetuneOptions) -> None:
    """Train a model, and show a summary; of several processes, only the main one shows it.

    :raises RowsRejected: the model is written, but rows of raw inputs were rejected
    :raises QatoolError: see :func:`qatool.commands.finetune.run`
    """
    wants_bar = not options.quiet and options.progress in {"auto", "bar"}
    bar = wants_bar and is_terminal(sys.stderr)
    with at_work(options) as observer:
        from qatool.commands.finetune import run

        result = run(options, observer=observer, bar=bar)
    if result.is_main:
        best = result.best
        tell(
            options,
            _lines(result, options),
            steps=result.steps,
            windows=result.windows,
            exact_match=None if best is None else best.exact_match,
            f1=None if best is None else best.f1,
            seconds=round(result.seconds, 3),
            device=result.device,
            rejected=result.rejected,
            output=str(result.folder),
        )
        tell_rejected(result.rejected, " and not learnt from; qatool prep tells which, and why")


def _lines(result: FinetuneResult, options: FinetuneOptions) -> Iterator[str]:
    from qatool.features.layout import is_features

    yield f"{result.steps:,} steps over {result.windows:,} windows in {duration(result.seconds)} on {result.device}"
    if result.best is not None:
        best = result.best
        yield f"best validation: EM {best.exact_match:.2f}, F1 {best.f1:.2f} at step {best.step:,}"
    yield f"model in {result.folder}"
    if options.validation is not None and not is_features(Path(options.validation)):
        yield f"for a threshold and scores that fit it: qatool calibrate {result.folder} --on {options.validation}"


command = OptionsCommand(
    "finetune",
    options_class=FinetuneOptions,
    callback=finetune,
    help="""Fine-tune a question-answering model with Lightning.

    MODEL becomes a folder that transformers loads, with the settings that qatool needs to decode as it was trained.
    The weights with the best F1 of all validations are kept. The same command continues a run that was stopped.
    """,
)
