"""Options of ``qatool calibrate``."""

from __future__ import annotations

from dataclasses import dataclass

from qatool.errors import UsageError
from qatool.options.checks import least_problems
from qatool.options.flags import Flag, argument, option, required, settle
from qatool.options.shared import (
    ALLOW_PICKLE,
    BATCH_TOKENS,
    DEVICE,
    JSON,
    TRUST_REMOTE_CODE,
    Backend,
    Precision,
    WindowOptions,
    precision_problems,
)


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions(WindowOptions):
    """Options of ``qatool calibrate``.

    :raises UsageError: a value or a combination makes no sense; names every problem found.
    """

    model: str = argument(
        Flag("The model's folder; the values are stored in its qatool.json.", "Input", metavar="MODEL")
    )
    on: str = required(
        Flag("Labelled questions that it was not trained on, some of them unanswerable.", "Input", metavar="DEV")
    )

    precision_at: float | None = option(
        Flag(
            "Instead of the threshold with the best F1, take the one that answers most while this share of the "
            "answers is exact.",
            "Fitting",
            metavar="P",
        )
    )
    max_answer_length: int | None = option(
        Flag("Most tokens an answer may have [default: 30].", "Fitting", metavar="N")
    )
    dry_run: bool = option(Flag("Fit and show the values, but store nothing.", "Fitting"), default=False)
    json: bool = option(JSON, default=False)

    backend: Backend = option(
        Flag("What runs the model; auto: openvino for a CPU where it is installed.", "Model"), default="auto"
    )
    device: str = option(DEVICE, default="auto")
    precision: Precision = option(Flag("Arithmetic of the model.", "Model"), default="auto")
    batch_tokens: int | None = option(BATCH_TOKENS)
    allow_pickle: bool = option(ALLOW_PICKLE, default=False)
    trust_remote_code: bool = option(TRUST_REMOTE_CODE, default=False)

    def __post_init__(self) -> None:
        settle(self)
        problems = [
            *self._range_problems(),
            *least_problems(self, 1, "batch_tokens", "max_answer_length"),
            *self._row_problems((self.on,)),
            *precision_problems(self.backend, self.precision),
            *self._combination_problems(),
        ]
        if self.on == "-":
            problems.append("--on -: standard input cannot be read here; name a file")
        if self.backend == "constant" and not self.dry_run:
            problems.append("--backend constant: reads nothing, so what is fitted means nothing; add --dry-run")
        if self.precision_at is not None and not 0 < self.precision_at <= 1:
            problems.append(f"--precision-at {self.precision_at}: must lie above 0 and not above 1")
        if problems:
            raise UsageError(*problems)
