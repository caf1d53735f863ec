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
Answers = Literal["first", "all"]
Rules = Literal["squad2.0", "squad1.1"]

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
class RowOptions(ScreenOptions):
    """How rows are read. Shared by every command that reads examples."""

    column: tuple[str, ...] = option(
        Flag("Read column OLD as NEW; repeatable.", "Input", metavar="NEW=OLD"), default=()
    )
    limit: int | None = option(Flag("Take only the first N examples.", "Input", metavar="N"))
    on_error: OnError = option(
        Flag("A bad row ends the run (fail) or is set aside with its reason (skip).", "Input"), default="fail"
    )
    max_errors: int | None = option(
        Flag("With --on-error skip: give up after more than N bad rows.", "Input", metavar="N")
    )

    def _row_problems(self, inputs: tuple[str, ...]) -> list[str]:
        """Return what is wrong with the inputs and the options of rows."""
        problems = []
        if not inputs:
            problems.append("INPUT: nothing to read; name a file, a folder, a glob or - for standard input")
        if inputs.count("-") > 1:
            problems.append("INPUT: - (standard input) can be read only once; name it once")
        problems += _rename_problems(self.column)
        if self.max_errors is not None and self.on_error == "fail":
            problems.append("--max-errors: has no meaning with --on-error fail; add --on-error skip")
        return problems


@dataclass(frozen=True, kw_only=True)
class WindowOptions(RowOptions):
    """How examples are cut into windows. Shared by every command that does."""

    max_length: int | None = option(
        Flag(f"Tokens a window [default: {DEFAULT_MAX_LENGTH}, or the model's limit].", "Windows", metavar="N")
    )
    stride: int | None = option(
        Flag(f"Tokens shared by neighbouring windows [default: {DEFAULT_STRIDE}].", "Windows", metavar="N")
    )
    max_question_length: int | None = option(
        Flag("Tokens of a question; longer ones are cut and counted [default: 64].", "Windows", metavar="N")
    )

    def _range_problems(self) -> list[str]:
        """Return which numbers are too small."""
        return [
            *_below(self, 1, "limit", "max_length", "max_question_length"),
            *_below(self, 0, "max_errors", "stride"),
        ]

    def _combination_problems(self) -> list[str]:
        """Return which options contradict each other."""
        problems = []
        if self.max_length is not None and self.stride is not None and self.stride >= self.max_length:
            problems.append(
                f"--stride {self.stride}: windows of --max-length {self.max_length} cannot overlap "
                "by that much; lower --stride"
            )
        if self.quiet and self.verbose:
            problems.append("--quiet and --verbose: contradict each other; drop one")
        return problems


@dataclass(frozen=True, kw_only=True)
class ExtractOptions(WindowOptions):
    """Options of ``qatool extract``.

    :raises UsageError: a value or a combination makes no sense; names every problem found.
    """

    inputs: tuple[str, ...] = argument(
        Flag("Files, folders, globs, or - for JSON Lines on standard input.", "Input", metavar="INPUT")
    )
    output: str = required(Flag("Where the answers go; - is standard output.", "Output", short="-o", metavar="PATH"))

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

    max_windows: str | None = option(
        Flag(
            "Read only the K windows of a long document most relevant to the question; auto: 4, or all when the "
            "question shares nothing telling with it [default: auto; reference decodings: all].",
            "Windows",
            metavar="K|all|auto",
        )
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
    dry_run: bool = option(
        Flag("Tell how much work there is and what it will take; change nothing.", "Run"), default=False
    )
    summary: str | None = option(Flag("Write the summary here too; - is standard output.", "Run", metavar="FILE|-"))

    def __post_init__(self) -> None:
        problems = [
            *self._range_problems(),
            *_below(self, 1, "batch_tokens", "max_answer_length", "top_k", "shard_rows"),
            *_below(self, 0, "snippet"),
            *self._row_problems(self.inputs),
        ]
        problems += [f"--question {text!r}: is blank; give a question" for text in self.question if not text.strip()]
        if self.question and self.questions is not None:
            problems.append("--question and --questions: use one of them; put every question into the file")
        if self.best_per is not None and not self.asks_documents:
            problems.append("--best-per: needs --question or --questions; there is one question an example otherwise")
        if self.always_answer and self.no_answer_threshold is not None:
            problems.append("--always-answer and --no-answer-threshold: contradict each other; drop one")
        if self.no_answer_threshold is not None and not 0 <= self.no_answer_threshold <= 1:
            problems.append(f"--no-answer-threshold {self.no_answer_threshold}: must lie between 0 and 1")
        if self.max_windows is not None and not re.fullmatch(r"auto|all|0*[1-9]\d*", self.max_windows):
            problems.append(f"--max-windows {self.max_windows}: give a number from 1, all or auto")
        if self.max_windows not in {None, "all"} and self.decode != "native":
            problems.append(
                f"--max-windows {self.max_windows}: --decode {self.decode} reads all windows, as its reference does; "
                "drop one"
            )
        problems += self._combination_problems()
        if self.max_duration is not None and _seconds(self.max_duration) is None:
            problems.append(f"--max-duration {self.max_duration}: not a time; write 30s, 50m or 8h")
        if self.output == "-":
            problems += [
                f"--{name.replace('_', '-')}: standard output (-o -) cannot be resumed; name a file with -o"
                for name in ("restart", "keep_run", "max_duration")
                if getattr(self, name)
            ]
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
    def window_limit(self) -> int | Literal["all", "auto"]:
        """How many windows of an example the model may read."""
        if self.decode != "native" or self.max_windows == "all":
            return "all"
        return "auto" if self.max_windows in {None, "auto"} else int(self.max_windows)

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


@dataclass(frozen=True, kw_only=True)
class PrepOptions(WindowOptions):
    """Options of ``qatool prep``.

    :raises UsageError: a value or a combination makes no sense; names every problem found.
    """

    inputs: tuple[str, ...] = argument(
        Flag("Files, folders, globs, or - for JSON Lines on standard input.", "Input", metavar="INPUT")
    )
    output: str = required(Flag("The folder that the features go to.", "Output", short="-o", metavar="FOLDER"))

    model: str | None = option(
        Flag(
            "Model folder or hub id, of which only the tokenizer is used [env: QATOOL_MODEL].",
            "Model",
            metavar="DIR|HUB_ID",
            env="QATOOL_MODEL",
        )
    )
    trust_remote_code: bool = option(Flag("Run code that comes with the model.", "Model"), default=False)

    answers: Answers = option(
        Flag("Of several answers, label the first or all of them (as lists besides).", "Labels"), default="first"
    )
    negatives_per_positive: float | None = option(
        Flag(
            "Keep a sample of the windows without an answer: R for each with one [default: all].",
            "Labels",
            metavar="R",
        )
    )
    strict: bool = option(
        Flag("Any rejected example is a failure, also one whose answer does not fit its context.", "Labels"),
        default=False,
    )

    workers: int | None = option(
        Flag("Processes; auto: one a core.", "Run", metavar="auto|N", auto=True), default=None
    )

    def __post_init__(self) -> None:
        problems = [
            *self._range_problems(),
            *_below(self, 1, "workers"),
            *_below(self, 0, "negatives_per_positive"),
            *self._row_problems(self.inputs),
            *self._combination_problems(),
        ]
        if self.output == "-":
            problems.append("-o -: features are a folder and cannot go to standard output; name a folder")
        if self.strict and self.on_error == "skip":
            problems.append("--strict and --on-error skip: contradict each other; drop one")
        if problems:
            raise UsageError(*problems)


@dataclass(frozen=True, kw_only=True)
class StatusOptions:
    """Options of ``qatool status``."""

    output: str = argument(Flag("The output of an extraction: what its -o names.", "Output", metavar="OUTPUT"))
    json: bool = option(Flag("Print one JSON object.", "Screen and logs"), default=False)


@dataclass(frozen=True, kw_only=True)
class InspectOptions:
    """Options of ``qatool inspect``.

    :raises UsageError: a value or a combination makes no sense; names every problem found.
    """

    path: str = argument(Flag("What qatool made: a folder of features, or answers.", "Input", metavar="PATH"))
    corpus: str | None = option(
        Flag("Of answers: the input they were found in, to show their contexts.", "Input", metavar="INPUT")
    )
    column: tuple[str, ...] = option(
        Flag("Read column OLD of the corpus as NEW; repeatable.", "Input", metavar="NEW=OLD"), default=()
    )
    row: int | None = option(
        Flag(
            "Show the example in this row, from 0 [default: the first, of features with a label].",
            "Example",
            metavar="N",
        )
    )
    id: str | None = option(Flag("Show the first example with this id.", "Example", metavar="ID"))

    def __post_init__(self) -> None:
        problems = [*_below(self, 0, "row"), *_rename_problems(self.column)]
        if self.column and self.corpus is None:
            problems.append("--column: names columns of --corpus; name that too")
        if self.row is not None and self.id is not None:
            problems.append("--row and --id: use one of them; either names the example")
        if problems:
            raise UsageError(*problems)


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Options of ``qatool evaluate``.

    :raises UsageError: a value or a combination makes no sense; names every problem found.
    """

    answers: str = argument(
        Flag("What extract wrote, or {id: text} in JSON as SQuAD's scripts take it.", "Input", metavar="ANSWERS")
    )
    references: str = required(Flag("Labelled rows: a file, a folder or a glob.", "Input", metavar="REF"))
    no_answer_scores: str | None = option(
        Flag("With answers in JSON: their no-answer scores, {id: number}.", "Input", metavar="FILE")
    )
    column: tuple[str, ...] = option(
        Flag("Read column OLD of the references as NEW; repeatable.", "Input", metavar="NEW=OLD"), default=()
    )
    partial: bool = option(Flag("Evaluate what matches when ids are missing on either side.", "Input"), default=False)

    rules: Rules = option(Flag("The official script whose definitions are followed.", "Figures"), default="squad2.0")
    no_answer_threshold: float | None = option(
        Flag("Decide anew: no answer when no_answer_score exceeds this.", "Figures", metavar="X")
    )
    slice_by: tuple[str, ...] = option(
        Flag("Also give figures for each value of this column; repeatable.", "Figures", metavar="COLUMN"), default=()
    )
    compare: str | None = option(
        Flag("Other answers to the same questions: are they better, and which changed?", "Figures", metavar="OTHER")
    )
    resamples: int = option(Flag("Resamples of the bootstrap, for intervals.", "Figures", metavar="N"), default=2000)
    min_f1: float | None = option(Flag("Fail (exit code 10) when F1 is below this, in per cent.", "Figures"))

    json: bool = option(Flag("Print one JSON object.", "Screen and logs"), default=False)

    def __post_init__(self) -> None:
        problems = [*_below(self, 100, "resamples"), *_rename_problems(self.column)]
        if self.no_answer_scores is not None and not self.answers.lower().endswith(".json"):
            problems.append("--no-answer-scores: only answers in SQuAD's JSON lack scores of their own; drop it")
        if self.min_f1 is not None and not 0 <= self.min_f1 <= 100:
            problems.append(f"--min-f1 {self.min_f1}: is in per cent; give a number from 0 to 100")
        if problems:
            raise UsageError(*problems)


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions(WindowOptions):
    """Options of ``qatool calibrate``.

    :raises UsageError: a value or a combination makes no sense; names every problem found.
    """

    model: str = argument(Flag("The model's folder; qatool.json in it takes the values.", "Input", metavar="MODEL"))
    on: str = required(
        Flag("Labelled questions, unanswerable ones among them, that it was not trained on.", "Input", metavar="DEV")
    )

    precision_at: float | None = option(
        Flag(
            "Instead of the threshold of the best F1, the one that answers most while this share of the answers is "
            "exact.",
            "Fitting",
            metavar="P",
        )
    )
    max_answer_length: int | None = option(Flag("Tokens an answer may have [default: 30].", "Fitting", metavar="N"))
    dry_run: bool = option(Flag("Fit and show, but store nothing.", "Fitting"), default=False)
    json: bool = option(Flag("Print one JSON object.", "Screen and logs"), default=False)

    backend: Backend = option(Flag("What runs the model.", "Model"), default="auto")
    device: str = option(Flag("auto, cpu, cuda or cuda:N.", "Model", metavar="DEVICE"), default="auto")
    precision: Precision = option(Flag("Arithmetic of the model.", "Model"), default="auto")
    batch_tokens: int | None = option(Flag("Tokens a batch, padding included.", "Model", metavar="auto|N", auto=True))
    allow_pickle: bool = option(Flag("Load weights that are not safetensors.", "Model"), default=False)
    trust_remote_code: bool = option(Flag("Run code that comes with the model.", "Model"), default=False)

    def __post_init__(self) -> None:
        problems = [
            *self._range_problems(),
            *_below(self, 1, "batch_tokens", "max_answer_length"),
            *self._row_problems((self.on,)),
            *self._combination_problems(),
        ]
        if self.on == "-":
            problems.append("--on -: standard input cannot be read here; name a file")
        if self.precision_at is not None and not 0 < self.precision_at <= 1:
            problems.append(f"--precision-at {self.precision_at}: must lie above 0 and not above 1")
        if problems:
            raise UsageError(*problems)


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Options of ``qatool report``.

    :raises UsageError: a value or a combination makes no sense; names every problem found.
    """

    answers: str = argument(Flag("What extract wrote.", "Input", metavar="ANSWERS"))
    output: str = required(Flag("The page, .html.", "Output", short="-o", metavar="PAGE"))
    corpus: str | None = option(
        Flag("The input the answers were found in, to show their contexts.", "Input", metavar="INPUT")
    )
    references: str | None = option(Flag("Labelled rows, to tell right from wrong.", "Input", metavar="REF"))
    column: tuple[str, ...] = option(
        Flag("Read column OLD of corpus and references as NEW; repeatable.", "Input", metavar="NEW=OLD"), default=()
    )
    partial: bool = option(
        Flag("With references: go on when ids are missing on either side.", "Input"), default=False
    )
    most: int = option(Flag("Answers shown of each kind.", "Output", metavar="N"), default=100)
    resamples: int = option(Flag("Resamples of the bootstrap, for intervals.", "Output", metavar="N"), default=2000)

    def __post_init__(self) -> None:
        problems = [*_below(self, 1, "most"), *_below(self, 100, "resamples"), *_rename_problems(self.column)]
        if not self.output.lower().endswith((".html", ".htm")):
            problems.append(f"-o {self.output}: is no name of a page; end it in .html")
        if self.partial and self.references is None:
            problems.append("--partial: has no meaning without --references; drop it")
        if problems:
            raise UsageError(*problems)


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


def _rename_problems(column: tuple[str, ...]) -> list[str]:
    """Return which of the renames are none."""
    return [
        f"--column {rename!r}: not of the form NEW=OLD; for example --column question=q"
        for rename in column
        if not all(rename.partition("=")[::2])
    ]
