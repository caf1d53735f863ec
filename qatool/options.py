"""One frozen dataclass of options a command: every default, every help text, every check of a value.

The command line is made from these fields (see ``qatool.cli.options``), so a default stands only here.
Constructing a dataclass with values that make no sense raises one :class:`~qatool.errors.UsageError` naming
every problem. ``None`` means "not chosen by the user": the value is then resolved from the model, the device
or the decode preset.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from qatool.errors import UsageError

Decode = Literal["native", "squad-script", "hf-pipeline"]
Backend = Literal["auto", "torch", "constant"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Progress = Literal["auto", "bar", "plain", "none"]
LogFormat = Literal["text", "json"]
OnError = Literal["fail", "skip"]

DEFAULT_MAX_LENGTH = 384
DEFAULT_STRIDE = 128
DEFAULT_NO_ANSWER_THRESHOLD = 0.5


class DecodePreset(NamedTuple):
    """What a ``--decode`` mode sets where the user set nothing. Lengths in tokens; ``None``: no limit."""

    max_answer_length: int
    max_question_length: int | None
    always_answer: bool


DECODE_PRESETS: dict[Decode, DecodePreset] = {
    "native": DecodePreset(max_answer_length=30, max_question_length=64, always_answer=False),
    "squad-script": DecodePreset(max_answer_length=30, max_question_length=None, always_answer=True),
    "hf-pipeline": DecodePreset(max_answer_length=15, max_question_length=None, always_answer=True),
}


class Flag(NamedTuple):
    """How a field appears on the command line."""

    help: str
    group: str
    short: str | None = None
    metavar: str | None = None
    auto: bool = False
    """``auto`` is accepted and means ``None``."""
    name: str | None = None
    """The flag, when it is not the field's name with dashes."""
    env: str | None = None
    """A second environment variable, read when ``QATOOL_<COMMAND>_<OPTION>`` is not set."""


def option(flag: Flag, *, default: Any = None) -> Any:
    """Declare a dataclass field that is also a command-line option."""
    return field(default=default, metadata={"flag": flag})


def required(flag: Flag) -> Any:
    """Declare a dataclass field that is an option without a default."""
    return field(metadata={"flag": flag})


def argument(flag: Flag) -> Any:
    """Declare a dataclass field that is a positional argument; a tuple takes one or more."""
    return field(metadata={"argument": flag})


@dataclass(frozen=True, kw_only=True)
class ScreenOptions:
    """What a command shows while it works, and where it logs. Shared by every long-running command."""

    progress: Progress = option(
        Flag("Progress display; auto: a bar on a terminal, else a plain line every 30 s.", "Screen and logs"),
        default="auto",
    )
    quiet: bool = option(Flag("Print nothing but errors.", "Screen and logs", short="-q"), default=False)
    verbose: bool = option(Flag("Also log details.", "Screen and logs", short="-v"), default=False)
    log_format: LogFormat = option(Flag("Format of log lines.", "Screen and logs"), default="text")
    log_file: str | None = option(
        Flag("Append log lines to this file instead of standard error.", "Screen and logs", metavar="FILE")
    )


@dataclass(frozen=True, kw_only=True)
class ExtractOptions(ScreenOptions):
    """Options of ``qatool extract``.

    :raises UsageError: a value or a combination makes no sense; names every problem found.
    """

    inputs: tuple[str, ...] = argument(
        Flag("Files, folders, globs, or - for JSON Lines on standard input.", "Input", metavar="INPUT")
    )
    output: str = required(Flag("Where the answers go; - is standard output.", "Output", short="-o", metavar="PATH"))

    column: tuple[str, ...] = option(
        Flag("Read column OLD as NEW; repeatable.", "Input", metavar="NEW=OLD"), default=()
    )
    question: tuple[str, ...] = option(
        Flag("Ask this question of every document; repeatable.", "Input", metavar="TEXT"), default=()
    )
    questions: str | None = option(
        Flag(
            "Ask the questions of this file of every document, or of the one its document_id names.",
            "Input",
            metavar="FILE",
        )
    )
    keep: tuple[str, ...] = option(
        Flag("Carry this input column into the output; repeatable.", "Input", metavar="COLUMN"), default=()
    )
    limit: int | None = option(Flag("Answer only the first N examples.", "Input", metavar="N"))
    on_error: OnError = option(
        Flag("A bad row ends the run (fail) or is set aside with its reason (skip).", "Input"), default="fail"
    )
    max_errors: int | None = option(
        Flag("With --on-error skip: give up after more than N bad rows.", "Input", metavar="N")
    )

    model: str | None = option(
        Flag(
            "Model folder or hub id [env: QATOOL_MODEL].",
            "Model",
            metavar="DIR|HUB_ID",
            env="QATOOL_MODEL",
        )
    )
    backend: Backend = option(
        Flag("What runs the model; constant: no model at all, for tests of scale.", "Model"), default="auto"
    )
    device: str = option(Flag("auto, cpu, cuda or cuda:N.", "Model", metavar="DEVICE"), default="auto")
    precision: Precision = option(Flag("Arithmetic of the model.", "Model"), default="auto")
    batch_tokens: int | None = option(Flag("Tokens a batch, padding included.", "Model", metavar="auto|N", auto=True))
    allow_pickle: bool = option(Flag("Load weights that are not safetensors.", "Model"), default=False)
    trust_remote_code: bool = option(Flag("Run code that comes with the model.", "Model"), default=False)

    max_length: int | None = option(
        Flag(f"Tokens a window [default: {DEFAULT_MAX_LENGTH}, or the model's limit].", "Windows", metavar="N")
    )
    stride: int | None = option(
        Flag(f"Tokens shared by neighbouring windows [default: {DEFAULT_STRIDE}].", "Windows", metavar="N")
    )
    max_question_length: int | None = option(
        Flag("Tokens of a question; longer ones are cut and counted [default: 64].", "Windows", metavar="N")
    )

    decode: Decode = option(
        Flag("How spans are scored, or the reference program to follow.", "Answers"), default="native"
    )
    max_answer_length: int | None = option(Flag("Tokens an answer may have [default: 30].", "Answers", metavar="N"))
    top_k: int = option(Flag("Candidates kept for each example.", "Answers", metavar="K"), default=1)
    always_answer: bool = option(Flag("Never decide that there is no answer.", "Answers"), default=False)
    no_answer_threshold: float | None = option(
        Flag(
            "No answer when no_answer_score exceeds this [default: the model's, else "
            f"{DEFAULT_NO_ANSWER_THRESHOLD}].",
            "Answers",
            metavar="X",
        )
    )
    best_per: Literal["question"] | None = option(
        Flag("Keep only the best answers to each question over all documents.", "Answers")
    )
    snippet: int | None = option(
        Flag("Add a column with the answer and N characters either side.", "Answers", metavar="N")
    )

    shard_rows: int | None = option(Flag("Examples a shard of work.", "Run", metavar="auto|N", auto=True))
    max_duration: str | None = option(
        Flag("Stop after this time (30s, 50m, 8h), to be continued.", "Run", metavar="TIME")
    )
    reuse: str | None = option(
        Flag(
            "Take over the answers of this earlier output for unchanged rows; may be the output itself.",
            "Run",
            metavar="FILE",
        )
    )
    restart: bool = option(Flag("Forget what an unfinished run has done.", "Run"), default=False)
    keep_run: bool = option(Flag("Keep the run folder after success.", "Run"), default=False)
    summary: str | None = option(Flag("Write the summary here too; - is standard output.", "Run", metavar="FILE|-"))

    def __post_init__(self) -> None:
        problems = [
            *_below(self, 1, "limit", "batch_tokens", "max_length", "max_question_length", "max_answer_length"),
            *_below(self, 1, "top_k", "shard_rows"),
            *_below(self, 0, "max_errors", "stride", "snippet"),
        ]
        if not self.inputs:
            problems.append("INPUT: nothing to read; name a file, a folder, a glob or - for standard input")
        if self.inputs.count("-") > 1:
            problems.append("INPUT: - (standard input) can be read only once; name it once")
        problems += [
            f"--column {rename!r}: not of the form NEW=OLD; for example --column question=q"
            for rename in self.column
            if not all(rename.partition("=")[::2])
        ]
        problems += [f"--question {text!r}: is blank; give a question" for text in self.question if not text.strip()]
        if self.question and self.questions is not None:
            problems.append("--question and --questions: use one of them; put every question into the file")
        if self.best_per is not None and not self.asks_documents:
            problems.append("--best-per: needs --question or --questions; there is one question an example otherwise")
        if self.max_errors is not None and self.on_error == "fail":
            problems.append("--max-errors: has no meaning with --on-error fail; add --on-error skip")
        if self.always_answer and self.no_answer_threshold is not None:
            problems.append("--always-answer and --no-answer-threshold: contradict each other; drop one")
        if self.no_answer_threshold is not None and not 0 <= self.no_answer_threshold <= 1:
            problems.append(f"--no-answer-threshold {self.no_answer_threshold}: must lie between 0 and 1")
        if self.max_length is not None and self.stride is not None and self.stride >= self.max_length:
            problems.append(
                f"--stride {self.stride}: windows of --max-length {self.max_length} cannot overlap "
                "by that much; lower --stride"
            )
        if self.max_duration is not None and _seconds(self.max_duration) is None:
            problems.append(f"--max-duration {self.max_duration}: not a time; write 30s, 50m or 8h")
        if self.output == "-":
            problems += [
                f"--{name.replace('_', '-')}: standard output (-o -) cannot be resumed; name a file with -o"
                for name in ("restart", "keep_run", "max_duration")
                if getattr(self, name)
            ]
        if self.quiet and self.verbose:
            problems.append("--quiet and --verbose: contradict each other; drop one")
        if self.output == "-" and self.summary == "-":
            problems.append("--summary -: standard output already carries the answers (-o -); name a file")
        if problems:
            raise UsageError(*problems)

    @property
    def asks_documents(self) -> bool:
        """Whether questions come apart from the documents."""
        return bool(self.question) or self.questions is not None

    @property
    def max_seconds(self) -> float | None:
        """``--max-duration`` in seconds."""
        return None if self.max_duration is None else _seconds(self.max_duration)

    @property
    def answer_length(self) -> int:
        """Longest answer in tokens."""
        return self.max_answer_length or DECODE_PRESETS[self.decode].max_answer_length

    @property
    def question_length(self) -> int | None:
        """Longest question in tokens, ``None`` for no limit of its own."""
        return self.max_question_length or DECODE_PRESETS[self.decode].max_question_length

    @property
    def answers_always(self) -> bool:
        """Whether every example gets an answer: asked for, or the habit of the reference followed."""
        return self.always_answer or (self.no_answer_threshold is None and DECODE_PRESETS[self.decode].always_answer)


def _seconds(text: str) -> float | None:
    """Return the seconds that ``90``, ``30s``, ``50m``, ``8h`` or ``1h30m`` means; ``None`` for anything else."""
    parts = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", text.strip())
    if parts is None or not any(parts.groups()):
        return None
    hours, minutes, seconds = (int(part or 0) for part in parts.groups())
    return 3600.0 * hours + 60 * minutes + seconds


def _below(options: object, least: int, *names: str) -> list[str]:
    """Return a problem for each named option that is set below ``least``."""
    return [
        f"--{name.replace('_', '-')} {value}: must be at least {least}"
        for name in names
        if (value := getattr(options, name)) is not None and value < least
    ]
