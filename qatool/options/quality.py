"""Options of ``qatool evaluate`` and ``qatool calibrate``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qatool.errors import UsageError
from qatool.options.flags import Flag, argument, below, option, rename_problems, required, settle_paths
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

Rules = Literal["squad2.0", "squad1.1"]

MOST_RESAMPLES = 1_000_000
"""Their means are kept in memory; what more of them change is far below any digit shown."""


def resample_problems(resamples: int) -> list[str]:
    """Return what is wrong with a number of resamples."""
    if resamples < 100:
        return [f"--resamples {resamples}: must be at least 100"]
    return [f"--resamples {resamples}: must be at most {MOST_RESAMPLES}"] if resamples > MOST_RESAMPLES else []


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Options of ``qatool evaluate``.

    :raises UsageError: a value or a combination makes no sense; names every problem found.
    """

    answers: str = argument(
        Flag(
            "What extract wrote (- is standard input), or {id: text} in JSON as SQuAD's scripts take it.",
            "Input",
            metavar="ANSWERS",
        )
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
    window_recall: bool = option(
        Flag("Of long documents, tell how often the windows chosen to be read hold the answer.", "Figures"),
        default=False,
    )
    model: str | None = option(
        Flag(
            "With --window-recall: the model whose tokenizer cuts the windows.",
            "Figures",
            metavar="DIR|HUB_ID",
            env="QATOOL_MODEL",
        )
    )

    json: bool = option(JSON, default=False)

    def __post_init__(self) -> None:
        settle_paths(self)
        problems = [*resample_problems(self.resamples), *rename_problems(self.column)]
        if [self.answers, self.references, self.compare].count("-") > 1:
            problems.append("-: standard input can be read only once; name it once, and files otherwise")
        if self.no_answer_scores is not None and not self.answers.lower().endswith(".json"):
            problems.append("--no-answer-scores: only answers in SQuAD's JSON lack scores of their own; drop it")
        threshold = self.no_answer_threshold
        if threshold is not None and not 0 <= threshold <= 1 and not self.answers.lower().endswith(".json"):
            problems.append(f"--no-answer-threshold {threshold:g}: must lie between 0 and 1")
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
        settle_paths(self)
        problems = [
            *self._range_problems(),
            *below(self, 1, "batch_tokens", "max_answer_length"),
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
