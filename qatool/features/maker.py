"""Make, of one shard of labelled examples, a table of features, a table of examples, and a report."""

from __future__ import annotations

import hashlib
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from qatool.features.layout import examples_schema, features_schema
from qatool.files.examples.labels import Answer, LabelError, Repair, place_answer, read_answers
from qatool.schema import fingerprint
from qatool.windows.build import build_windows
from qatool.windows.labels import answer_tokens, window_spans
from qatool.windows.ragged import offsets_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qatool.features.shards import Shard
    from qatool.schema import Example
    from qatool.windows.assemble import UnpaddedWindows, WindowedExamples
    from qatool.windows.cut import WindowSize
    from qatool.windows.labels import WindowSpans
    from qatool.windows.tokenizer import PairTokenizer

REPAIRS_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Report:
    """Counts, rejects and repairs of a shard; kept small, because it is sent between processes."""

    counts: Counter[str]
    lengths: NDArray[np.int64]
    """``(max_length + 1,)``: number of windows by length in tokens."""
    rejects: list[dict[str, Any]]
    repairs: list[dict[str, Any]]
    """The first ``REPAIRS_SHOWN`` answers whose offset was corrected."""
    pairs: bytes
    """The fingerprints of question and context of all readable examples, 16 bytes each."""
    ids: bytes
    """The digests of the ids of all examples, 16 bytes each."""


@dataclass(frozen=True, kw_only=True)
class ShardFeatures:
    """The two tables made of a shard, and the report on it."""

    features: pa.Table
    examples: pa.Table
    report: Report


class _Labelled(NamedTuple):
    """An example with its answers."""

    row: int
    """0-based row in the whole input."""
    example: Example
    answers: list[Answer] | None
    """Empty if the question is unanswerable, ``None`` if the example is not labelled."""


@dataclass(frozen=True, kw_only=True)
class FeatureMaker:
    """Makes the features of shards; the result depends only on the shard and these settings."""

    tokenizer: PairTokenizer
    size: WindowSize
    answers: Literal["first", "all"]

    def make(self, shard: Shard) -> ShardFeatures:
        """Check the labels of a shard, tokenise and cut its examples, and label the windows."""
        sorter = _Sorter(self.answers)
        for row, example in enumerate(shard.examples):
            sorter.add(shard.first_row + row, example)
        labelled = sorter.readable
        examples = build_windows(
            [item.example.question or "" for item in labelled],
            [item.example.context or "" for item in labelled],
            tokenizer=self.tokenizer,
            size=self.size,
            question_offsets=True,
        )
        windows = examples.unpadded()
        spans, counts = _label(examples, windows, labelled)
        counts.update(sorter.counts)
        counts["truncated_questions"] = int(examples.question_is_cut.sum())
        return ShardFeatures(
            features=self._features(examples, windows, labelled, spans),
            examples=_examples_table(shard, sorter, examples),
            report=Report(
                counts=counts,
                lengths=np.bincount(np.diff(windows.boundaries), minlength=self.size.max_length + 1),
                rejects=sorter.rejects,
                repairs=sorter.repairs,
                pairs=b"".join(sorter.fingerprints.values()),
                ids=b"".join(_digest(example.id or "") for example in shard.examples),
            ),
        )

    def _features(
        self,
        examples: WindowedExamples,
        windows: UnpaddedWindows,
        labelled: Sequence[_Labelled],
        spans: WindowSpans,
    ) -> pa.Table:
        """Return the table of features."""
        sample = examples.windows.overflow_to_sample_mapping
        rows = np.array([item.row for item in labelled], dtype=np.int64)
        ids = pa.array([item.example.id for item in labelled], pa.string())
        unlabelled = np.array([item.answers is None for item in labelled], dtype=bool)[sample]
        start, end = windows.null_position.copy(), windows.null_position.copy()
        # If a window contains several answers, the first in the given order is the label.
        held, first = np.unique(spans.window, return_index=True)
        start[held], end[held] = spans.start[first], spans.end[first]
        boundaries = pa.array(windows.boundaries, pa.int32())
        pairs = pa.FixedSizeListArray.from_arrays(pa.array(windows.offset_mapping.ravel()), 2)
        columns: dict[str, Any] = {
            "input_ids": pa.ListArray.from_arrays(boundaries, pa.array(windows.input_ids)),
            "offset_mapping": pa.ListArray.from_arrays(boundaries, pairs),
            "overflow_to_sample_mapping": pa.array(rows[sample]),
            "example_id": ids.take(pa.array(sample)),
            "window": pa.array(examples.windows.window),
            "context_start": pa.array(windows.context_start, pa.int32()),
            "context_end": pa.array(windows.context_end, pa.int32()),
            "start_positions": pa.array(start.astype(np.int32), mask=unlabelled),
            "end_positions": pa.array(end.astype(np.int32), mask=unlabelled),
        }
        if windows.token_type_ids is not None:
            columns["token_type_ids"] = pa.ListArray.from_arrays(boundaries, pa.array(windows.token_type_ids))
        if self.answers == "all":
            each = pa.array(offsets_of(np.bincount(spans.window, minlength=len(sample))), pa.int32())
            columns["all_start_positions"] = pa.ListArray.from_arrays(each, pa.array(spans.start, pa.int32()))
            columns["all_end_positions"] = pa.ListArray.from_arrays(each, pa.array(spans.end, pa.int32()))
        schema = features_schema(token_types=windows.token_type_ids is not None, all_answers=self.answers == "all")
        return pa.table([columns[name] for name in schema.names], schema=schema)


@dataclass
class _Sorter:
    """Sorts the examples of a shard into rejected, empty and readable ones, and checks their answers."""

    keep: Literal["first", "all"]
    """The answers that are labels."""
    readable: list[_Labelled] = field(default_factory=list)
    errors: dict[int, str] = field(default_factory=dict)
    """Why examples were rejected, by row in the whole input."""
    fingerprints: dict[int, bytes] = field(default_factory=dict)
    """Fingerprints of the examples that were not rejected, by row in the whole input."""
    answers: dict[int, list[Answer] | None] = field(default_factory=dict)
    """Labels and, after them, further correct answers of other annotators, by row in the whole input."""
    counts: Counter[str] = field(default_factory=Counter)
    rejects: list[dict[str, Any]] = field(default_factory=list)
    repairs: list[dict[str, Any]] = field(default_factory=list)

    def add(self, row: int, example: Example) -> None:
        """Add the next example."""
        self.counts["examples"] += 1
        if example.error is not None:
            self._reject(row, example, example.error)
            return
        try:
            answers = self._checked(example)
        except LabelError as error:
            self._reject(row, example, str(error))
            return
        question, context = example.question or "", example.context or ""
        self.fingerprints[row] = fingerprint(question, context)
        self.answers[row] = answers if answers is None else [*answers, *self._others(example)]
        self._count_repairs(example, answers or [])
        if example.is_odd:
            self.counts["empty"] += 1
            self.counts["empty_questions"] += not question.strip()
            self.counts["empty_contexts"] += not context.strip()
            return
        self.counts["unlabelled" if answers is None else "answerable" if answers else "unanswerable"] += 1
        self.readable.append(_Labelled(row, example, answers))

    def _checked(self, example: Example) -> list[Answer] | None:
        """Return the answers that are labels, with their checked offsets; ``None`` if the example is not labelled.

        :raises LabelError: an answer cannot be used
        """
        given = read_answers(example.kept)
        if given is None:
            return None
        chosen = given[:1] if self.keep == "first" else list(dict.fromkeys(given))
        return [place_answer(example.context or "", text, start) for text, start in chosen]

    def _others(self, example: Example) -> Iterator[Answer]:
        """Yield the answers of other annotators, which are correct but no labels; skip those that cannot be found."""
        given = read_answers(example.kept) or []
        for text, start in dict.fromkeys(given[1:]) if self.keep == "first" else ():
            if (text, start) != given[0]:
                with suppress(LabelError):
                    yield place_answer(example.context or "", text, start)

    def _count_repairs(self, example: Example, answers: Sequence[Answer]) -> None:
        self.counts["answers"] += len(answers)
        for answer in answers:
            if answer.repair is None:
                continue
            self.counts["answers_repaired"] += 1
            self.counts["answers_in_bytes"] += answer.repair is Repair.BYTES
            if len(self.repairs) < REPAIRS_SHOWN:
                self.repairs.append(
                    {
                        "where": example.where,
                        "id": example.id,
                        "text": answer.text,
                        "answer_start": answer.given,
                        "repaired": answer.start,
                        "reason": answer.repair.value,
                    }
                )

    def _reject(self, row: int, example: Example, reason: str) -> None:
        self.counts["rejected"] += 1
        self.errors[row] = reason
        self.rejects.append({"row": row, "id": example.id, "where": example.where, "reason": reason})


def _label(
    examples: WindowedExamples, windows: UnpaddedWindows, labelled: Sequence[_Labelled]
) -> tuple[WindowSpans, Counter[str]]:
    """Return the spans of the answers in the windows, and the counts of windows with and without one."""
    answers = [(number, answer) for number, item in enumerate(labelled) for answer in item.answers or ()]
    sample = np.array([number for number, _ in answers], dtype=np.int64)
    tokens = answer_tokens(
        examples,
        sample=sample,
        answer_start=np.array([answer.start for _, answer in answers], dtype=np.int64),
        answer_end=np.array([answer.end for _, answer in answers], dtype=np.int64),
    )
    spans = window_spans(examples, tokens, sample=sample, context_position=windows.context_start)
    n_windows = examples.windows.n_windows
    without_label = np.array([item.answers is None for item in labelled], dtype=bool)
    unlabelled = int(n_windows[without_label].sum())
    positive = len(np.unique(spans.window))
    return spans, Counter(
        windows=len(examples.windows),
        windows_with_answer=positive,
        windows_without_answer=len(examples.windows) - unlabelled - positive,
        windows_unlabelled=unlabelled,
        tokens=int(windows.boundaries[-1]),
        answers_no_window_holds=len(answers) - len(np.unique(spans.answer)),
    )


def _examples_table(shard: Shard, sorter: _Sorter, examples: WindowedExamples) -> pa.Table:
    """Return the table of all examples of the shard, including rejected ones."""
    rows = range(shard.first_row, shard.first_row + len(shard.examples))
    place = {item.row: number for number, item in enumerate(sorter.readable)}
    n_windows, lengths = examples.windows.n_windows.tolist(), examples.question_lengths.tolist()
    columns = {
        "id": [example.id for example in shard.examples],
        "question": [example.question for example in shard.examples],
        "context": [example.context for example in shard.examples],
        "answers": [_answers_value(sorter.answers.get(row)) for row in rows],
        "n_windows": [n_windows[place[row]] if row in place else 0 for row in rows],
        "question_tokens": [lengths[place[row]] if row in place else 0 for row in rows],
        "fingerprint": [sorter.fingerprints.get(row) for row in rows],
        "error": [sorter.errors.get(row) for row in rows],
    }
    schema = examples_schema()
    return pa.table([pa.array(columns[f.name], f.type) for f in schema], schema=schema)


def _answers_value(answers: list[Answer] | None) -> dict[str, list[Any]] | None:
    if answers is None:
        return None
    return {"text": [answer.text for answer in answers], "answer_start": [answer.start for answer in answers]}


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
