"""``qatool calibrate``: fit a model's scores and its no-answer threshold on labelled questions."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qatool.commands.labelled import accepted, calibrated, outcome_of, read_questions
from qatool.errors import InputError, UsageError
from qatool.evaluation.measures.calibration import (
    UnreachableError,
    fit_answerable,
    fit_precision,
    fit_temperature,
    fit_threshold,
    likelihood,
    quality,
)
from qatool.evaluation.measures.scoring import expected_answers
from qatool.extraction.answering.setup import load_setup
from qatool.extraction.answering.shards import cut_shards
from qatool.files.storage.atomic import write_json
from qatool.logs import log_event
from qatool.models.recorded import RecordedBackend
from qatool.models.settings import SETTINGS_FILE, ModelSettings
from qatool.observers import SilentObserver
from qatool.options import DEFAULT_NO_ANSWER_THRESHOLD, ExtractOptions
from qatool.spans.calibration import Calibration

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from qatool.evaluation.measures.calibration import Outcome, Quality
    from qatool.evaluation.measures.scoring import Expected
    from qatool.extraction.answering.extractor import Extractor, PreparedShard
    from qatool.extraction.answering.shards import Shard
    from qatool.observers import Observer
    from qatool.options import CalibrateOptions
    from qatool.schema import Example

_GENTLE = 0.1
"""A slope so small that scores in single precision keep all log odds distinct."""


@dataclass(frozen=True, kw_only=True)
class CalibrateResult:
    """The fitted values, and their effect on the questions that they were fitted on."""

    calibration: Calibration
    no_answer_threshold: float | None
    """The fitted threshold; ``None`` if every question has an answer."""
    before: Quality
    """Quality with the model's previous settings."""
    after: Quality
    """Quality with the fitted values."""
    questions: int
    left_out: int
    """Number of bad rows (``--on-error skip``)."""
    settings: Path
    """Path of ``qatool.json`` beside the weights."""
    stored: bool
    """Whether the values were stored there (not with ``--dry-run``)."""


def run(options: CalibrateOptions, *, observer: Observer | None = None) -> CalibrateResult:
    """Fit calibration and threshold; the model reads every window only once.

    :param observer: progress display
    :raises QatoolError: see :mod:`qatool.errors`
    """
    observer = observer or SilentObserver()
    folder = Path(options.model)
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder; the fitted values are stored beside the model's weights")
    settings = ModelSettings.load(options.model)
    examples, left_out = read_questions(options.on, options, flag="--on")
    expected = expected_answers(map(accepted, examples), "squad2.0")
    setup = load_setup(_extraction(options))
    model = _Model(setup.extractor, examples, cut_shards(examples, setup.resolved.shard_limits), observer)
    # The model never reads a blank context, so these examples say nothing about it.
    read = np.array([not example.is_odd for example in examples])
    has_answer = np.array([right.has_answer for right in expected])
    if not (read & has_answer).any():
        raise InputError(f"--on {options.on}: holds no question with an answer; name questions of both kinds")
    has_unanswerable = bool((read & ~has_answer).any())
    always = not has_unanswerable or setup.extractor.decision.always_answer
    before = quality(
        model.outcome(settings.calibration),
        expected,
        None if always else _or_default(settings.no_answer_threshold),
    )
    observer.message("fitting the scores")
    calibration = _calibration(model, expected, has_answer, read)
    outcome = model.outcome(calibration)
    threshold = _threshold(options, outcome, expected) if has_unanswerable else None
    after = quality(outcome, expected, threshold)
    result = CalibrateResult(
        calibration=calibration,
        no_answer_threshold=threshold,
        before=before,
        after=after,
        questions=len(examples),
        left_out=left_out,
        settings=folder / SETTINGS_FILE,
        stored=not options.dry_run,
    )
    if result.stored:
        _store(result, options)
    return result


def _extraction(options: CalibrateOptions) -> ExtractOptions:
    """Return the options of the extraction whose scores are calibrated."""
    return ExtractOptions(
        inputs=(options.on,),
        output="-",
        model=options.model,
        max_length=options.max_length,
        stride=options.stride,
        max_question_length=options.max_question_length,
        max_answer_length=options.max_answer_length,
        backend=options.backend,
        device=options.device,
        precision=options.precision,
        batch_tokens=options.batch_tokens,
        allow_pickle=options.allow_pickle,
        trust_remote_code=options.trust_remote_code,
    )


def _or_default(threshold: float | None) -> float:
    return DEFAULT_NO_ANSWER_THRESHOLD if threshold is None else threshold


def _calibration(
    model: _Model, expected: Sequence[Expected], has_answer: NDArray[np.bool_], read: NDArray[np.bool_]
) -> Calibration:
    """Fit the temperature on answerable questions, taking an answer as certain, then slope and bias on all questions.

    Without unanswerable questions, slope and bias cannot be fitted, and the temperature alone must fit the scores.

    :param has_answer: ``(n,)``: whether the question has an answer
    :param read: ``(n,)``: whether the model reads the question, which it does not if a text is blank
    """
    among = read & has_answer
    if not (read & ~has_answer).any():
        temperature = fit_temperature(
            lambda value: likelihood(model.outcome(Calibration(temperature=value)), expected, among=among)
        )
        return Calibration(temperature=temperature)
    taken_for_granted = Calibration(answerable_slope=0.0, answerable_bias=math.inf)
    temperature = fit_temperature(
        lambda value: likelihood(model.outcome(replace(taken_for_granted, temperature=value)), expected, among=among)
    )
    gentle = Calibration(temperature=temperature, answerable_slope=_GENTLE)
    doubt = model.outcome(gentle).no_answer_score
    with np.errstate(divide="ignore"):
        log_odds = (np.log1p(-doubt) - np.log(doubt)) / _GENTLE
    slope, bias = fit_answerable(log_odds, has_answer)
    return Calibration(temperature=temperature, answerable_slope=slope, answerable_bias=bias)


def _threshold(options: CalibrateOptions, outcome: Outcome, expected: Sequence[Expected]) -> float:
    if options.precision_at is None:
        return fit_threshold(outcome, expected).threshold
    try:
        return fit_precision(outcome, expected, options.precision_at).threshold
    except UnreachableError as error:
        raise UsageError(
            f"--precision-at {options.precision_at:g}: no threshold reaches it on these questions; the best "
            f"precision is {error.best:.3f}, ask for that or less"
        ) from None


class _Model:
    """Answers the same questions under any calibration; the model itself runs only the first time."""

    def __init__(
        self, extractor: Extractor, examples: Sequence[Example], shards: Iterable[Shard], observer: Observer
    ) -> None:
        self._extractor = replace(extractor, backend=RecordedBackend(extractor.backend))
        self._observer = observer
        self._shards: list[PreparedShard] = [self._extractor.prepare(shard) for shard in shards]
        self._is_first = True
        observer.started(len(examples), "reading")

    def outcome(self, calibration: Calibration) -> Outcome:
        """Return the model's output for every question under a calibration."""
        found = outcome_of(calibrated(self._extractor, calibration), self._shards, self._tick)
        self._is_first = False
        return found

    def _tick(self, examples: int, windows: int) -> None:
        if self._is_first:
            self._observer.advanced(examples, windows)


def _store(result: CalibrateResult, options: CalibrateOptions) -> None:
    """Write the fitted values into ``qatool.json``, and keep its other values."""
    try:
        values: dict[str, Any] = json.loads(result.settings.read_text(encoding="utf-8"))
    except FileNotFoundError:
        values = {}
    values |= asdict(result.calibration)
    # A threshold that was fitted earlier is for scores on another scale.
    dropped = values.pop("no_answer_threshold", None)
    if dropped is not None and result.no_answer_threshold is None:
        log_event(
            f"the no-answer threshold {dropped:g} of before is dropped: every question of --on has an answer, so "
            "none is fitted",
            level=logging.WARNING,
        )
    if result.no_answer_threshold is not None:
        values["no_answer_threshold"] = result.no_answer_threshold
    values["calibration"] = {
        "on": Path(options.on).name,
        "questions": result.questions,
        "precision_at": options.precision_at,
        "before": told(result.before),
        "after": told(result.after),
    }
    write_json(result.settings, values)


def told(found: Quality) -> Mapping[str, Any]:
    """Return a quality as values for JSON."""
    return {**found._asdict(), "bins": [one._asdict() for one in found.bins]}
