"""Labelled questions that a model answers in memory, for fitting its scores and for comparing models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qatool.errors import InputError
from qatool.evaluation.measures.calibration import Outcome
from qatool.evaluation.reading.references import accepted_texts
from qatool.extraction.engines.job import InHand
from qatool.features.examples import StoredExamples
from qatool.features.layout import is_features
from qatool.features.reader import FeaturesFolder
from qatool.files.examples.corpus import open_corpus
from qatool.files.examples.fields import InputColumns
from qatool.files.examples.labels import ANSWERS, LABEL_FIELDS
from qatool.files.sources.paths import resolve
from qatool.files.sources.rows import bad_row, quoted, too_many_bad
from qatool.logs import log_event
from qatool.spans.decode import decoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from qatool.extraction.answering.extractor import Extractor, PreparedShard
    from qatool.options import FinetuneOptions, RowOptions
    from qatool.schema import Example
    from qatool.spans.calibration import Calibration


def read_questions(given: str, options: RowOptions, *, flag: str) -> tuple[list[Example], int]:
    """Return the questions of an input with their label fields, and the number of bad rows left out.

    :param given: the input as the user named it
    :param flag: the option that named the input, for messages
    :raises InputError: a row is bad (``--on-error fail``), too many rows are, or no question is left
    """
    corpus = open_corpus(resolve([given]), column=options.column, optional=LABEL_FIELDS, limit=options.limit)
    kept: list[Example] = []
    left_out = 0
    for example in corpus.examples():
        if example.error is None:
            kept.append(example)
            continue
        if options.on_error == "fail":
            raise bad_row(f"{example.where}: {example.error}")
        left_out += 1
        if options.max_errors is not None and left_out > options.max_errors:
            raise too_many_bad(left_out, options.max_errors)
        log_event("left out", row=example.where, reason=example.error)
    if not kept:
        raise InputError(f"{flag} {quoted(given)}: holds no question; name labelled questions")
    return kept, left_out


def validation_questions(options: FinetuneOptions) -> list[Example]:
    """Return the questions for validating a training; empty if no validation is asked for.

    :raises InputError: a row is bad, or the input has no question
    """
    given = options.validation
    if given is None:
        return []
    examples = _prepared(Path(given)) if is_features(Path(given)) else _sound(given, options)
    if not examples:
        raise InputError(f"--validation {given}: holds no question; name labelled questions")
    return examples


def _sound(given: str, options: FinetuneOptions) -> list[Example]:
    corpus = open_corpus(resolve([given]), column=options.column, optional=LABEL_FIELDS)
    examples = []
    for example in corpus.examples():
        if example.error is not None:
            raise InputError(f"{example.where}: {example.error}; mend the row of the validation questions")
        examples.append(example)
    return examples


def _prepared(folder: Path) -> list[Example]:
    """Return the examples of features, without those that were rejected when the features were made."""
    columns = InputColumns(renames={}, keep=(ANSWERS,), unseen=set())
    stored = StoredExamples(FeaturesFolder(folder), columns)
    return [example for example in stored.examples() if example.error is None]


def accepted(example: Example) -> tuple[str, ...]:
    """Return the texts that an example's labels accept; empty if it has no answer.

    :raises InputError: the example is not labelled, or its labels cannot be read
    """
    return accepted_texts(*(example.kept.get(name) for name in LABEL_FIELDS), place=example.where)


def calibrated(extractor: Extractor, calibration: Calibration) -> Extractor:
    """Return an extractor that keeps only the best span, and scores it with a calibration."""
    longest = extractor.decoder.search.max_answer_length
    return replace(extractor, decoder=decoder("native", top_k=1, max_answer_length=longest, calibration=calibration))


def outcome_of(
    extractor: Extractor, shards: Iterable[PreparedShard], tick: Callable[[int, int], None] = lambda *_: None
) -> Outcome:
    """Return a model's output for every question.

    :param tick: called for progress, with the number of examples and of windows done since the last call
    """
    best: list[str | None] = []
    scores, no_answer = [], []
    for shard in shards:
        progress = _ShardProgress(shard, tick)
        table = extractor.answer(shard, progress.read).table
        best += [found[0]["answer"] if found else None for found in table["candidates"].to_pylist()]
        scores.append(table["score"].cast("float64").to_numpy())
        no_answer.append(table["no_answer_score"].cast("float64").to_numpy())
        progress.ended()
    # If the model failed on a question, both scores are NaN.
    return Outcome(best, np.concatenate(scores), np.nan_to_num(np.concatenate(no_answer), nan=1.0))


class _ShardProgress:
    """Tells how far a shard is, in examples: as large a share of them is done as of its windows.

    :param tick: called with the number of examples and of windows done since the last call
    """

    def __init__(self, shard: PreparedShard, tick: Callable[[int, int], None]) -> None:
        self._size = InHand(examples=len(shard.shard.examples), windows=len(shard.examples.windows))
        self._tick = tick
        self._windows = self._examples = 0

    def read(self, windows: int) -> None:
        """Add windows that have been read."""
        self._windows += windows
        self._advance(self._size.examples_at(self._windows), windows)

    def ended(self) -> None:
        """Add all examples that are left."""
        self._advance(self._size.examples, 0)

    def _advance(self, examples: int, windows: int) -> None:
        self._tick(examples - self._examples, windows)
        self._examples = examples
