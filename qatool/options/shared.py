"""Options that several commands share, with their choices and defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qatool.options.checks import clash_problems, least_problems, rename_problems
from qatool.options.flags import Flag, option

Decode = Literal["native", "squad-script", "hf-pipeline"]
Backend = Literal["auto", "torch", "openvino", "constant"]
Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]
Progress = Literal["auto", "bar", "plain", "none"]
LogFormat = Literal["text", "json"]
OnError = Literal["fail", "skip"]
Engine = Literal["local", "ray"]

DEFAULT_MAX_LENGTH = 384
DEFAULT_STRIDE = 128
DEFAULT_NO_ANSWER_THRESHOLD = 0.5

MODEL = Flag(
    "Model folder or hub id; without it the one that ships with qatool [env: QATOOL_MODEL].",
    "Model",
    metavar="DIR|HUB_ID",
    env="QATOOL_MODEL",
)
DEVICE = Flag("auto, cpu, cuda or cuda:N.", "Model", metavar="DEVICE")
BATCH_TOKENS = Flag("Tokens per batch, padding included.", "Model", metavar="auto|N", auto=True)
ALLOW_PICKLE = Flag("Load weights that are not safetensors.", "Model")
TRUST_REMOTE_CODE = Flag("Run code that comes with the model.", "Model")
JSON = Flag("Print one JSON object.", "Screen and logs")


def precision_problems(backend: Backend, precision: Precision) -> list[str]:
    """Return a problem if a backend never has a precision, whatever the model."""
    if precision == "int8" and backend == "torch":
        return ["--precision int8: is OpenVINO's alone; use --backend openvino, with a model exported so"]
    return []


@dataclass(frozen=True, kw_only=True)
class ScreenOptions:
    """Options for progress display and logs, shared by all long-running commands."""

    progress: Progress = option(
        Flag("Progress display; auto: a bar on a terminal, else a plain line every 30 s.", "Screen and logs"),
        default="auto",
    )
    quiet: bool = option(Flag("Print nothing but errors.", "Screen and logs", short="-q"), default=False)
    verbose: bool = option(Flag("Also log details.", "Screen and logs", short="-v", rivals=("quiet",)), default=False)
    log_format: LogFormat = option(Flag("Format of log lines.", "Screen and logs"), default="text")
    log_file: str | None = option(
        Flag("Append log lines to this file instead of standard error.", "Screen and logs", metavar="FILE")
    )

    @property
    def logs_json(self) -> bool:
        """Whether standard error gets JSON Lines, except for the errors that end the command."""
        return self.log_format == "json" and self.log_file is None

    def _screen_problems(self) -> list[str]:
        """Return a problem if options for the screen contradict each other."""
        if self.quiet and self.verbose:
            return ["--quiet and --verbose: contradict each other; drop one"]
        return []


@dataclass(frozen=True, kw_only=True)
class RowOptions(ScreenOptions):
    """Options for reading rows, shared by all commands that read examples."""

    column: tuple[str, ...] = option(
        Flag("Read column OLD as NEW; repeatable.", "Input", metavar="NEW=OLD"), default=()
    )
    limit: int | None = option(Flag("Take only the first N examples.", "Input", metavar="N"))
    on_error: OnError = option(
        Flag("A bad row ends the run (fail) or is set aside with its reason (skip).", "Input"), default="fail"
    )
    max_errors: int | None = option(
        Flag("With --on-error skip: give up after more than N bad rows.", "Input", metavar="N", rivals=("on_error",))
    )

    def _row_problems(self, inputs: tuple[str, ...]) -> list[str]:
        """Return the problems with the inputs and the options for rows."""
        problems = []
        if not inputs:
            problems.append("INPUT: nothing to read; name a file, a folder, a glob or - for standard input")
        if inputs.count("-") > 1:
            problems.append("INPUT: - (standard input) can be read only once; name it once")
        problems += clash_problems(dict(zip(inputs, inputs, strict=True)), {"--log-file": self.log_file})
        problems += rename_problems(self.column)
        if self.max_errors is not None and self.on_error == "fail":
            problems.append("--max-errors: has no meaning with --on-error fail; add --on-error skip")
        return problems


@dataclass(frozen=True, kw_only=True)
class WindowOptions(RowOptions):
    """Options for cutting examples into windows, shared by all commands that do."""

    max_length: int | None = option(
        Flag(
            f"Tokens per window [default: as the model's qatool.json says, else {DEFAULT_MAX_LENGTH}, or the model's "
            "limit].",
            "Windows",
            metavar="N",
        )
    )
    stride: int | None = option(
        Flag(
            f"Tokens shared by neighbouring windows [default: as qatool.json says, else {DEFAULT_STRIDE}; at most "
            "half a window].",
            "Windows",
            metavar="N",
            rivals=("max_length",),
        )
    )
    max_question_length: int | None = option(
        Flag(
            "Most tokens of a question; longer ones are cut and counted [default: 64; reference decodings: no "
            "limit].",
            "Windows",
            metavar="N",
        )
    )

    def _range_problems(self) -> list[str]:
        """Return a problem for each number that is too small."""
        return [
            *least_problems(self, 1, "limit", "max_length", "max_question_length"),
            *least_problems(self, 0, "max_errors", "stride"),
        ]

    def _combination_problems(self) -> list[str]:
        """Return the problems with options that contradict each other."""
        problems = []
        if self.max_length is not None and self.stride is not None and self.stride >= self.max_length:
            problems.append(
                f"--stride {self.stride}: windows of --max-length {self.max_length} cannot overlap "
                "by that much; lower --stride"
            )
        return problems + self._screen_problems()


MOST_RESAMPLES = 1_000_000
"""Most resamples: their means are kept in memory, and more of them change none of the digits shown."""


def resample_problems(resamples: int) -> list[str]:
    """Return a problem if a number of resamples is too small or too large."""
    if resamples < 100:
        return [f"--resamples {resamples}: must be at least 100"]
    return [f"--resamples {resamples}: must be at most {MOST_RESAMPLES}"] if resamples > MOST_RESAMPLES else []
