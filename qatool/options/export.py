"""Options of ``qatool export``."""

from __future__ import annotations

from dataclasses import dataclass

from qatool.errors import UsageError
from qatool.options.checks import clash_problems, least_problems
from qatool.options.flags import Flag, argument, option, required, settle
from qatool.options.shared import ALLOW_PICKLE, JSON, TRUST_REMOTE_CODE, RowOptions


@dataclass(frozen=True, kw_only=True)
class ExportOptions(RowOptions):
    """Options of ``qatool export``.

    :raises UsageError: a value or a combination makes no sense; names every problem found.
    """

    model: str = argument(Flag("The model: folder or hub id.", "Input", metavar="MODEL"))
    calibration_data: str | None = option(
        Flag(
            "Questions, preferably labelled: with --int8 a third of them sets the ranges of activations; the answers "
            "to the others are compared with the model's own.",
            "Input",
            metavar="FILE",
        )
    )
    output: str = required(Flag("The folder that the exported model goes to.", "Output", short="-o", metavar="DIR"))

    int8: bool = option(Flag("Quantise to int8; needs --calibration-data.", "Model"), default=False)
    max_f1_drop: float = option(
        Flag("Write nothing and fail (exit code 10) when F1 falls by more than this many points.", "Model"),
        default=0.5,
    )
    allow_pickle: bool = option(ALLOW_PICKLE, default=False)
    trust_remote_code: bool = option(TRUST_REMOTE_CODE, default=False)
    json: bool = option(JSON, default=False)

    def __post_init__(self) -> None:
        settle(self)
        problems = [
            *least_problems(self, 1, "limit"),
            *least_problems(self, 0, "max_errors", "max_f1_drop"),
            *self._screen_problems(),
        ]
        problems += clash_problems({"MODEL": self.model}, {"-o": self.output})
        if self.calibration_data is not None:
            problems += self._row_problems((self.calibration_data,))
        if self.calibration_data == "-":
            problems.append("--calibration-data -: standard input cannot be read here; name a file")
        if self.int8 and self.calibration_data is None:
            problems.append("--int8: needs questions to take ranges from; add --calibration-data FILE")
        if problems:
            raise UsageError(*problems)
