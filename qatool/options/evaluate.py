"""Options of ``qatool evaluate``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qatool.errors import UsageError
from qatool.options.checks import rename_problems
from qatool.options.flags import Flag, argument, option, required, settle
from qatool.options.shared import JSON, resample_problems

Rules = Literal["squad2.0", "squad1.1"]


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Options of ``qatool evaluate``.

    :raises UsageError: a value or a combination makes no sense; names every problem found.
    """

    answers: str = argument(
        Flag(
            "Output of extract (- is standard input), or {id: text} in JSON as SQuAD's scripts take it.",
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
        Flag("Decide again: no answer when no_answer_score exceeds this.", "Figures", metavar="X")
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
        Flag("For long documents, show how often the windows chosen to be read hold the answer.", "Figures"),
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
        settle(self)
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
