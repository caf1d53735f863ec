"""Options of ``qatool prep``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from qatool.errors import UsageError
from qatool.options.checks import least_problems
from qatool.options.flags import Flag, argument, option, required, settle
from qatool.options.negatives import NegativeOptions
from qatool.options.shared import TRUST_REMOTE_CODE

Answers = Literal["first", "all"]


@dataclass(frozen=True, kw_only=True)
class PrepOptions(NegativeOptions):
    """Options of ``qatool prep``.

    :raises UsageError: a value or a combination makes no sense; names every problem found.
    """

    inputs: tuple[str, ...] = argument(
        Flag("Files, folders, globs, or - for JSON Lines on standard input.", "Input", metavar="INPUT")
    )
    output: str = required(Flag("The folder that the features go to.", "Output", short="-o", metavar="FOLDER"))

    model: str | None = option(
        Flag(
            "Model folder or hub id, of which only the tokenizer is used; without it the one that ships with qatool "
            "[env: QATOOL_MODEL].",
            "Model",
            metavar="DIR|HUB_ID",
            env="QATOOL_MODEL",
        )
    )
    trust_remote_code: bool = option(TRUST_REMOTE_CODE, default=False)

    answers: Answers = option(
        Flag("If there are several answers, label the first, or all of them (in additional lists).", "Labels"),
        default="first",
    )
    negatives_per_positive: float | None = option(
        Flag(
            "Keep only a sample of the windows without an answer: R for each window with one [default: all].",
            "Labels",
            metavar="R",
        )
    )
    strict: bool = option(
        Flag(
            "Fail if any example is rejected, also for an answer that does not fit its context.",
            "Labels",
            rivals=("on_error",),
        ),
        default=False,
    )

    workers: int | None = option(
        Flag("Processes; auto: one per core.", "Run", metavar="auto|N", auto=True), default=None
    )

    def __post_init__(self) -> None:
        settle(self)
        problems = [
            *self._range_problems(),
            *least_problems(self, 1, "workers"),
            *least_problems(self, 0, "negatives_per_positive"),
            *self._row_problems(self.inputs),
            *self._combination_problems(),
            *self._negative_problems(),
        ]
        ratio = self.negatives_per_positive
        if ratio is not None and not math.isfinite(ratio):
            problems.append(f"--negatives-per-positive {ratio}: must be a finite number")
        if self.output == "-":
            problems.append("-o -: features are a folder and cannot go to standard output; name a folder")
        if self.strict and self.on_error == "skip":
            problems.append("--strict and --on-error skip: contradict each other; drop one")
        if problems:
            raise UsageError(*problems)
