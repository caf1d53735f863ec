"""``qatool evaluate``: compare answers with references."""

from __future__ import annotations

import gc
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qatool.errors import InputError, UsageError
from qatool.evaluation.measures.comparison import compare
from qatool.evaluation.measures.figures import figures
from qatool.evaluation.measures.judging import judge
from qatool.evaluation.measures.windowrecall import window_recall
from qatool.evaluation.reading.answers import load_answers, made_of
from qatool.evaluation.reading.perquestion import QUESTION_ID, best_answer_to_each
from qatool.evaluation.reading.references import load_references
from qatool.files.examples.corpus import open_corpus
from qatool.files.examples.labels import LABEL_FIELDS
from qatool.files.sources.paths import resolve
from qatool.files.sources.rows import quoted
from qatool.files.sources.stdin import STDIN, spool_stdin
from qatool.models.named import model_name
from qatool.models.settings import ModelSettings
from qatool.models.sizes import resolve_size
from qatool.options import DECODE_PRESETS, WindowOptions
from qatool.windows.tokenizer import PairTokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from qatool.evaluation.measures.judging import Judged
    from qatool.evaluation.reading.answers import AnswerSet
    from qatool.evaluation.reading.references import References
    from qatool.options import EvaluateOptions


@dataclass(frozen=True, kw_only=True)
class EvaluateResult:
    """The figures of an evaluation, and whether they are good enough."""

    figures: Mapping[str, Any]
    """The figures that ``--json`` prints."""
    passed: bool
    """Whether F1 reaches ``--min-f1``; true without it."""


def run(options: EvaluateOptions) -> EvaluateResult:
    """Evaluate answers.

    :raises InputError: a file cannot be used, or an answer or a reference has no counterpart
    :raises UsageError: the options do not fit the files
    """
    with _collector_paused(), _standard_input_copied(options) as named:
        found = _figures(named)
    return EvaluateResult(figures=found, passed=options.min_f1 is None or found["f1"] >= options.min_f1)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause the garbage collector, which would visit millions of live texts repeatedly without finding cycles."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def _standard_input_copied(options: EvaluateOptions) -> Iterator[EvaluateOptions]:
    """Yield options in which ``-`` is replaced by a copy of standard input, which can be read more than once."""
    piped = [name for name in ("answers", "references", "compare") if getattr(options, name) == STDIN]
    if not piped:
        yield options
        return
    with tempfile.TemporaryDirectory(prefix="qatool-") as folder:
        copied: dict[str, Any] = dict.fromkeys(piped, str(spool_stdin(Path(folder)).path))
        yield replace(options, **copied)


def _figures(options: EvaluateOptions) -> dict[str, Any]:
    references = load_references(resolve([options.references]), column=options.column, extra=options.slice_by)
    judged = _judged(options, references, options.answers)
    for name in options.slice_by:
        if name not in judged.extra:
            raise InputError(f"--slice-by {quoted(name)}: neither references nor answers have this column; check it")
    found = figures(judged, resamples=options.resamples, slice_by=options.slice_by)
    if options.compare is not None:
        other = _judged(options, references, options.compare, is_other=True)
        found["compare"] = compare(judged, other, resamples=options.resamples, partial=options.partial)
    if options.window_recall:
        found["window_recall"] = _window_recall(options, frozenset(judged.answers.ids))
    return found


def _window_recall(options: EvaluateOptions, judged: frozenset[str]) -> dict[str, Any]:
    """Return the window recall for the references' contexts, cut with the window size of the answers if they have it.

    :param judged: ids of the questions that are evaluated
    """
    name = model_name(options.model)
    tokenizer = PairTokenizer.load(name)
    made = made_of(options.answers)
    size = resolve_size(
        WindowOptions(max_length=made.get("max_length"), stride=made.get("stride")),
        ModelSettings.load(name),
        n_special=tokenizer.template.n_special,
        limit=tokenizer.model_max_length,
        max_question_length=made.get("max_question_length") or DECODE_PRESETS["native"].max_question_length,
    )
    corpus = open_corpus(resolve([options.references]), column=options.column, optional=LABEL_FIELDS)
    evaluated = (example for example in corpus.examples() if example.id in judged)
    return window_recall(evaluated, tokenizer=tokenizer, size=size)


def _judged(options: EvaluateOptions, references: References, path: str, *, is_other: bool = False) -> Judged:
    """Load answers and judge them by the references.

    :param is_other: whether these are the answers of ``--compare``, to which the options for decisions do not apply
    """
    if is_other:
        answers = load_answers(path, extra=(QUESTION_ID,))
    else:
        extra = tuple(dict.fromkeys((*options.slice_by, QUESTION_ID)))
        answers = load_answers(path, no_answer_scores=options.no_answer_scores, extra=extra)
        answers = _decided(options, answers)
    answers = best_answer_to_each(answers, references.ids, path=path)
    return judge(answers, references, path=path, partial=options.partial, rules=options.rules)


def _decided(options: EvaluateOptions, answers: AnswerSet) -> AnswerSet:
    if options.no_answer_threshold is None:
        return answers
    if answers.no_answer_score is None:
        raise UsageError(
            "--no-answer-threshold: these answers have no no_answer_score to decide by; give --no-answer-scores or "
            "drop it"
        )
    return answers.decided_at(options.no_answer_threshold)
