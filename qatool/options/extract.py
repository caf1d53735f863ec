"""Options of ``qatool extract``, and the presets of its decode modes."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal, NamedTuple

from qatool.errors import UsageError
from qatool.names import REJECTS_SUFFIX, RUN_FOLDER_SUFFIX, SUMMARY_SUFFIX
from qatool.options.checks import (
    clash_problems,
    device_problems,
    duration_problems,
    least_problems,
    seconds_of,
    text_problems,
)
from qatool.options.flags import Flag, argument, option, required, settle
from qatool.options.shared import (
    ALLOW_PICKLE,
    BATCH_TOKENS,
    DEFAULT_NO_ANSWER_THRESHOLD,
    DEVICE,
    MODEL,
    TRUST_REMOTE_CODE,
    Backend,
    Decode,
    Engine,
    Precision,
    WindowOptions,
    precision_problems,
)
from qatool.places import lies_in, same_place


class DecodePreset(NamedTuple):
    """Values that a ``--decode`` mode sets unless the user does. Lengths are in tokens; ``None`` means no limit."""

    max_answer_length: int
    max_question_length: int | None
    always_answer: bool


DECODE_PRESETS: dict[Decode, DecodePreset] = {
    "native": DecodePreset(max_answer_length=30, max_question_length=64, always_answer=False),
    "squad-script": DecodePreset(max_answer_length=30, max_question_length=None, always_answer=True),
    "hf-pipeline": DecodePreset(max_answer_length=15, max_question_length=None, always_answer=True),
}

_MOST_WINDOWS = 1 << 31
"""A number of windows that no document has; larger values of ``--max-windows`` are reduced to it."""


@dataclass(frozen=True, kw_only=True)
class ExtractOptions(WindowOptions):
    """Options of ``qatool extract``.

    :raises UsageError: a value or a combination makes no sense; names every problem found.
    """

    inputs: tuple[str, ...] = argument(
        Flag(
            "Files, folders, globs, - for JSON Lines on standard input, or one folder of features.",
            "Input",
            metavar="INPUT",
        )
    )
    output: str = required(Flag("Where the answers go; - is standard output.", "Output", short="-o", metavar="PATH"))

    question: tuple[str, ...] = option(
        Flag("Ask this question of every document; repeatable.", "Input", metavar="TEXT", rivals=("questions",)),
        default=(),
    )
    questions: str | None = option(
        Flag(
            "Ask the questions in this file of every document, or only of the one that their document_id names.",
            "Input",
            metavar="FILE",
            rivals=("question",),
        )
    )
    keep: tuple[str, ...] = option(
        Flag("Carry this input column into the output; repeatable.", "Input", metavar="COLUMN"), default=()
    )

    model: str | None = option(MODEL)
    backend: Backend = option(
        Flag(
            "What runs the model; auto: openvino for a CPU where it is installed; constant: no model, for tests.",
            "Model",
        ),
        default="auto",
    )
    device: str = option(DEVICE, default="auto")
    devices: str | None = option(
        Flag(
            "Cards (GPUs) of this machine to use, one process each; with --engine ray: number of workers.",
            "Model",
            metavar="N|all",
            rivals=("device",),
        )
    )
    precision: Precision = option(
        Flag("Arithmetic of the model; int8 needs a model exported as int8.", "Model", rivals=("backend",)),
        default="auto",
    )
    batch_tokens: int | None = option(BATCH_TOKENS)
    workers: int | None = option(
        Flag(
            "On a CPU, batches read at once, one thread each [default: one per core]; on a card, at most this many "
            "processes that tokenise and decide beside it [default: two fewer than cores, up to 16].",
            "Model",
            metavar="N",
        )
    )
    compile: bool = option(
        Flag(
            "Compile the model for a card; takes time at the start, and helps only where qatool fuses nothing.",
            "Model",
        ),
        default=False,
    )
    allow_pickle: bool = option(ALLOW_PICKLE, default=False)
    trust_remote_code: bool = option(TRUST_REMOTE_CODE, default=False)

    max_windows: str | None = option(
        Flag(
            "Of a long document, read only the K windows most relevant to the question; auto: up to 7 passages, "
            "mostly paragraphs, or everything if the question shares no informative word with it [default: auto; "
            "reference decodings: all].",
            "Windows",
            metavar="K|all|auto",
            rivals=("decode",),
        )
    )

    max_documents: int | None = option(
        Flag(
            "With --best-per question: ask each question only of the K documents most relevant to it [default: of "
            "all].",
            "Windows",
            metavar="K",
        )
    )

    decode: Decode = option(
        Flag("How spans are scored: natively, or as a reference program does it.", "Answers"), default="native"
    )
    max_answer_length: int | None = option(
        Flag("Most tokens an answer may have [default: 30; hf-pipeline: 15].", "Answers", metavar="N")
    )
    top_k: int = option(
        Flag("Candidates kept per example; with --best-per, also rows per question.", "Answers", metavar="K"),
        default=1,
    )
    always_answer: bool = option(
        Flag("Never decide that there is no answer.", "Answers", rivals=("no_answer_threshold",)), default=False
    )
    no_answer_threshold: float | None = option(
        Flag(
            "Give no answer when no_answer_score exceeds this, 0 to 1 [default: the model's, else "
            f"{DEFAULT_NO_ANSWER_THRESHOLD}].",
            "Answers",
            metavar="X",
            rivals=("always_answer",),
        )
    )
    best_per: Literal["question"] | None = option(
        Flag("Keep only the best answers to each question over all documents.", "Answers")
    )
    snippet: int | None = option(
        Flag("Add a column with the answer and N characters on either side.", "Answers", metavar="N")
    )

    engine: Engine = option(
        Flag("Where the work is done; local: on this machine; ray: on a Ray cluster.", "Cluster"), default="local"
    )
    ray_address: str | None = option(
        Flag(
            "Address of the cluster [default: RAY_ADDRESS, else a cluster is started on this machine for the run].",
            "Cluster",
            metavar="ADDRESS",
            rivals=("engine",),
        )
    )
    gpus_per_worker: float | None = option(
        Flag(
            "Cards per worker, may be a fraction [default: 1 where there are any].",
            "Cluster",
            metavar="N",
            rivals=("engine",),
        )
    )
    cpus_per_worker: float = option(
        Flag("Cores per worker.", "Cluster", metavar="N", rivals=("engine",)), default=1.0
    )

    shard_rows: int | None = option(Flag("Examples per shard, the unit of work.", "Run", metavar="auto|N", auto=True))
    max_duration: str | None = option(
        Flag(
            "Stop after this time (30s, 50m, 8h; a number alone: seconds); the same command continues.",
            "Run",
            metavar="TIME",
            rivals=("output",),
        )
    )
    reuse: str | None = option(
        Flag(
            "Take over the answers of this earlier output (Parquet) for unchanged rows; may be the output itself.",
            "Run",
            metavar="PATH",
        )
    )
    restart: bool = option(
        Flag("Discard what an unfinished run has done, and start over.", "Run", rivals=("output",)), default=False
    )
    keep_run: bool = option(
        Flag("Keep the run folder, and its log, after success.", "Run", rivals=("output",)), default=False
    )
    dry_run: bool = option(
        Flag("Show how much work there is and what it will take; change nothing.", "Run"), default=False
    )
    summary: str | None = option(
        Flag(
            "Also write the summary here, even when the run is stopped; - is standard output.",
            "Run",
            metavar="FILE|-",
        )
    )

    def __post_init__(self) -> None:
        settle(self)
        problems = [
            *self._range_problems(),
            *least_problems(
                self, 1, "batch_tokens", "workers", "max_answer_length", "top_k", "shard_rows", "max_documents"
            ),
            *least_problems(self, 0, "snippet"),
            *self._row_problems(self.inputs),
            *precision_problems(self.backend, self.precision),
            *self._question_problems(),
            *self._answer_problems(),
            *device_problems(self.device),
            *self._engine_problems(),
            *text_problems({"--question": self.question, "--keep": self.keep}),
            *self._path_problems(),
            *self._combination_problems(),
            *duration_problems("max-duration", self.max_duration),
            *self._stdout_problems(),
        ]
        if problems:
            raise UsageError(*problems)

    def _question_problems(self) -> list[str]:
        """Return the problems with the options for questions that are given apart from their documents."""
        problems = [f"--question {text!r}: is blank; give a question" for text in self.question if not text.strip()]
        if self.question and self.questions is not None:
            problems.append("--question and --questions: use one of them; put every question into the file")
        if self.questions == "":
            problems.append("--questions: names no file; give its path")
        if self.best_per is not None and not self.asks_documents:
            problems.append("--best-per: needs --question or --questions; there is one question an example otherwise")
        if self.max_documents is not None and self.best_per is None:
            problems.append(
                f"--max-documents {self.max_documents}: needs --best-per question; there is a row for every document "
                "otherwise"
            )
        return problems

    def _answer_problems(self) -> list[str]:
        """Return the problems with the options that decide the answers."""
        problems = []
        if self.always_answer and self.no_answer_threshold is not None:
            problems.append("--always-answer and --no-answer-threshold: contradict each other; drop one")
        if self.no_answer_threshold is not None and not 0 <= self.no_answer_threshold <= 1:
            problems.append(f"--no-answer-threshold {self.no_answer_threshold}: must lie between 0 and 1")
        if self.max_windows is not None and not re.fullmatch(r"auto|all|0*[1-9]\d{0,99}", self.max_windows):
            problems.append(f"--max-windows {self.max_windows}: give a number from 1, all or auto")
        if self.max_windows not in {None, "all"} and self.decode != "native":
            problems.append(
                f"--max-windows {self.max_windows}: --decode {self.decode} reads all windows, as its reference does; "
                "drop one"
            )
        return problems

    def _path_problems(self) -> list[str]:
        """Return the problems with files that are read and written."""
        problems = []
        if self.reuse is not None and not _may_be_parquet(self.reuse):
            problems.append(
                f"--reuse {self.reuse}: answers are taken over from Parquet only; name a .parquet file or a folder "
                "(end its name with /)"
            )
        problems += clash_problems(
            {"--questions": self.questions, "--model": self.model},
            {"-o": self.output, "--summary": self.summary, "--log-file": self.log_file},
        )
        if self.output != "-":
            problems += [
                f"INPUT {text}: is also the output (-o); name another output"
                for text in self.inputs
                if same_place(text, self.output)
            ]
        problems += self._beside_problems()
        problems += clash_problems(
            {**dict(zip(self.inputs, self.inputs, strict=True)), "--reuse": self.reuse}, {"--summary": self.summary}
        )
        return problems + clash_problems({"--reuse": self.reuse}, {"--log-file": self.log_file})

    def _stdout_problems(self) -> list[str]:
        """Return the problems with options that mean nothing for standard output."""
        if self.output != "-":
            return []
        problems = [
            f"--{name.replace('_', '-')}: standard output (-o -) cannot be resumed; name a file with -o"
            for name in ("restart", "keep_run", "max_duration")
            if getattr(self, name)
        ]
        if self.summary == "-":
            problems.append("--summary -: standard output already carries the answers (-o -); name a file")
        return problems

    def _beside_problems(self) -> list[str]:
        """Return a problem for each option whose file would replace one that is written beside or into the output."""
        if self.output == "-":
            return []
        bare = self.output.rstrip("/")
        rejects, summary = f"{bare}{REJECTS_SUFFIX}", f"{bare}{SUMMARY_SUFFIX}"
        named = {
            "--summary": (self.summary, (rejects,)),
            "--log-file": (self.log_file, (rejects, summary)),
        }
        return [
            f"{label} {path}: belongs to what -o writes; name another file"
            for label, (path, others) in named.items()
            if path not in {None, "-"}
            and (
                any(same_place(str(path), other) for other in (*others, f"{bare}{RUN_FOLDER_SUFFIX}"))
                or any(lies_in(str(path), folder) for folder in (bare, f"{bare}{RUN_FOLDER_SUFFIX}"))
            )
        ]

    def _engine_problems(self) -> list[str]:
        """Return the problems with the options for devices, engine and cluster."""
        problems = []
        if self.devices is not None and not re.fullmatch(r"all|0*[1-9]\d*", self.devices):
            problems.append(f"--devices {self.devices}: give a number from 1, or all")
        elif self.devices not in {None, "1"} and ":" in self.device:
            problems.append(f"--devices {self.devices}: --device {self.device} is one card; use --device cuda")
        if self.engine == "ray" and ":" in self.device:
            problems.append(f"--device {self.device}: Ray chooses the cards; use --device cuda")
        if self.engine != "ray":
            problems += [
                f"--{name.replace('_', '-')}: has no meaning without --engine ray; add it"
                for name, default in (("ray_address", None), ("gpus_per_worker", None), ("cpus_per_worker", 1.0))
                if getattr(self, name) != default
            ]
        if not 0 < self.cpus_per_worker < math.inf:
            problems.append(f"--cpus-per-worker {self.cpus_per_worker:g}: must be above 0")
        if self.gpus_per_worker is not None and not 0 <= self.gpus_per_worker < math.inf:
            problems.append(f"--gpus-per-worker {self.gpus_per_worker:g}: must be at least 0")
        return problems

    @property
    def asks_documents(self) -> bool:
        """Whether questions are given separately from the documents."""
        return bool(self.question) or self.questions is not None

    @property
    def ranks_documents(self) -> bool:
        """Whether documents are ranked before they are asked; reference decodings do so only to limit them."""
        return self.best_per is not None and (self.decode == "native" or self.max_documents is not None)

    @property
    def max_seconds(self) -> float | None:
        """``--max-duration`` in seconds."""
        return None if self.max_duration is None else seconds_of(self.max_duration)

    @property
    def window_limit(self) -> int | Literal["all", "auto"]:
        """The most windows of an example that the model may read."""
        if self.decode != "native" or self.max_windows == "all":
            return "all"
        return "auto" if self.max_windows in {None, "auto"} else min(int(self.max_windows), _MOST_WINDOWS)

    @property
    def answer_length(self) -> int:
        """The longest answer, in tokens."""
        return self.max_answer_length or DECODE_PRESETS[self.decode].max_answer_length

    @property
    def question_length(self) -> int | None:
        """The longest question, in tokens; ``None`` for no limit but that of the window."""
        return self.max_question_length or DECODE_PRESETS[self.decode].max_question_length

    @property
    def answers_always(self) -> bool:
        """Whether every example gets an answer, by option or because the reference decoding does that."""
        return self.always_answer or (self.no_answer_threshold is None and DECODE_PRESETS[self.decode].always_answer)


def _may_be_parquet(output: str) -> bool:
    """Return whether an output of this name is Parquet by the rules of ``-o``: a ``.parquet`` file, or a folder."""
    return output.lower().endswith((".parquet", "/")) or (output != "-" and not PurePath(output).suffix)
