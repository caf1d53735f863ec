"""Read answers to evaluate: from ``qatool extract``, or the ``{id: text}`` JSON of the official SQuAD scripts."""

from __future__ import annotations

import json
import logging
import sys
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyarrow import types

from qatool.errors import InputError, reason_of
from qatool.files.formats.parquet import open_parquet
from qatool.files.formats.readers import open_reader
from qatool.files.sources.paths import resolve
from qatool.files.sources.rows import quoted, where
from qatool.files.sources.streams import reading
from qatool.files.storage.locations import Location, location
from qatool.logs import log_event
from qatool.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from qatool.files.sources.source import Source

_TEXTS = ("id", "question", "answer", "error")
_NUMBERS = ("score", "no_answer_score", "n_windows")
_CANDIDATES = "candidates.list.element.answer"
_BATCH_ROWS = 1 << 16


@dataclass(frozen=True, kw_only=True)
class AnswerSet:
    """``n`` answers, in the order of their file."""

    ids: list[str]
    decided: list[str | None]
    """The answers given; ``None`` or empty for "no answer"."""
    best: list[str | None]
    """The best texts, whatever the decisions; ``None`` if there is none."""
    rejected: NDArray[np.bool_]
    """``(n,)``: whether the row was rejected, and so never answered."""
    score: NDArray[np.float64] | None
    """``(n,)``: scores of the best texts, NaN if there is none; ``None`` if the file has no scores."""
    no_answer_score: NDArray[np.float64] | None
    """``(n,)``, or ``None`` if the file has none."""
    is_single: bool = False
    """Whether no-answer scores have single precision, in which ``extract`` compares them with its threshold."""
    n_windows: NDArray[np.float64] | None
    """``(n,)``: number of windows, NaN if unknown; ``None`` if the file has none."""
    candidates: list[pa.Array]
    """Texts of the ranked candidates: chunks of lists of strings, ``n`` lists in all; empty if the file has none."""
    questions: list[str | None]
    extra: Mapping[str, list[Any]]
    """Values of further columns that the file has."""
    exceeds: NDArray[np.bool_] | None = None
    """``(n,)``: whether the score exceeds the threshold of :meth:`decided_at`; ``None`` if that was not called."""

    def __len__(self) -> int:
        return len(self.ids)

    def decided_at(self, threshold: float) -> AnswerSet:
        """Return the same answers, decided by this no-answer threshold.

        :raises ValueError: there are no no-answer scores
        """
        scores = self.no_answer_score
        if scores is None:
            raise ValueError("no no-answer scores to decide by")
        exceeds = scores.astype(np.float32) > np.float32(threshold) if self.is_single else scores > threshold
        none = exceeds | np.isnan(scores)
        decided = [None if no else text for no, text in zip(none.tolist(), self.best, strict=True)]
        return replace(self, decided=decided, exceeds=exceeds)

    def take(self, rows: NDArray[np.int64]) -> AnswerSet:
        """Return only these rows, in this order."""
        places = rows.tolist()
        candidates = [pa.chunked_array(self.candidates).take(pa.array(rows))] if self.candidates else []
        return replace(
            self,
            ids=[self.ids[row] for row in places],
            decided=[self.decided[row] for row in places],
            best=[self.best[row] for row in places],
            rejected=self.rejected[rows],
            exceeds=None if self.exceeds is None else self.exceeds[rows],
            score=None if self.score is None else self.score[rows],
            no_answer_score=None if self.no_answer_score is None else self.no_answer_score[rows],
            n_windows=None if self.n_windows is None else self.n_windows[rows],
            candidates=[chunk for lists in candidates for chunk in lists.chunks],
            questions=[self.questions[row] for row in places],
            extra={name: [values[row] for row in places] for name, values in self.extra.items()},
        )

    def candidate_lists(self) -> Iterator[list[str]]:
        """Yield the ranked candidates of each answer."""
        for chunk in self.candidates:
            for first in range(0, len(chunk), _BATCH_ROWS):
                for texts in chunk.slice(first, _BATCH_ROWS).to_pylist():
                    yield texts or []


def load_answers(
    path: str, *, no_answer_scores: str | None = None, extra: Sequence[str] = (), unique: bool = True
) -> AnswerSet:
    """Read answers from a file or a folder of parts.

    :param no_answer_scores: a JSON file ``{id: score}``, used with answers in SQuAD's JSON
    :param extra: further columns to read, if the file has them
    :param unique: whether ids must be unique
    :raises InputError: the file cannot be read, holds no answers, or has an id twice
    """
    sources = resolve([path])
    if [source.format for source in sources] == ["json"] and sources[0].compression is None:
        answers = _predictions(sources[0])
        return answers if no_answer_scores is None else _scored(answers, no_answer_scores)
    found = _Rows(extra)
    for source in sources:
        if source.format == "parquet":
            _read_parquet(source, found)
        elif source.format == "jsonl":
            _read_lines(source, found)
        else:
            raise InputError(f"{source.path}: answers are .parquet, .jsonl, a folder of parts, or SQuAD's .json")
    answers = found.answers()
    return _unique(path, answers) if unique else answers


class _Rows:
    """Collects the columns of answers, file by file and batch by batch."""

    def __init__(self, extra: Sequence[str]) -> None:
        self.texts: dict[str, list[Any]] = {name: [] for name in _TEXTS}
        self.numbers: dict[str, list[NDArray[np.float64]]] = {name: [] for name in _NUMBERS}
        self.candidates: list[pa.Array] = []
        self.extra: dict[str, list[Any]] = {name: [] for name in extra}
        self.absent = {"candidates", *_NUMBERS, *extra}
        """Columns that no file so far has had."""
        self.is_single = True

    def answers(self) -> AnswerSet:
        numbers = {
            name: None if name in self.absent else np.concatenate([np.empty(0), *chunks])
            for name, chunks in self.numbers.items()
        }
        decided = self.texts["answer"]
        lists = [] if "candidates" in self.absent else self.candidates
        first = [text for chunk in lists for text in _first_texts(chunk)]
        best = (
            [given if one is None else one for given, one in zip(decided, first, strict=True)] if first else decided
        )
        return AnswerSet(
            ids=self.texts["id"],
            decided=decided,
            best=best,
            rejected=np.array([error is not None for error in self.texts["error"]], dtype=np.bool_),
            candidates=lists,
            is_single=self.is_single,
            questions=self.texts["question"],
            extra={name: values for name, values in self.extra.items() if name not in self.absent},
            **numbers,
        )


def _first_texts(lists: pa.Array) -> list[str | None]:
    """Return the first entry of each list, ``None`` for empty ones and nulls."""
    offsets = lists.offsets.to_numpy()
    filled = np.diff(offsets) > 0
    return list(lists.values.take(pa.array(offsets[:-1], mask=~filled)).to_pylist())


def _read_parquet(source: Source, found: _Rows) -> None:
    with reading(source), open_parquet(source.path) as file:
        there = file.schema_arrow.names
        for name in ("id", "answer"):
            if name not in there:
                raise InputError(f"{source.path}: no column {name!r}; name answers that qatool extract wrote")
        simple = [name for name in (*_TEXTS, *_NUMBERS, *found.extra) if name in there]
        wanted = [*simple, _CANDIDATES] if "candidates" in there else simple
        found.absent.difference_update(there)
        if "no_answer_score" in there:
            found.is_single &= types.is_float32(file.schema_arrow.field("no_answer_score").type)
        for batch in file.iter_batches(_BATCH_ROWS, columns=wanted):
            rows = batch.num_rows
            for column in (found.texts, found.extra):
                for name, values in column.items():
                    values.extend(_values(batch[name], name) if name in there else [None] * rows)
            for name, chunks in found.numbers.items():
                chunks.append(_numbers(batch[name]) if name in there else np.full(rows, np.nan))
            found.candidates.append(_candidate_texts(batch["candidates"]) if "candidates" in there else _none(rows))


def _values(column: pa.Array, name: str) -> list[Any]:
    """Return the values of a column; ids are converted to text."""
    values: list[Any] = (column.cast(pa.string()) if name == "id" else column).to_pylist()
    return values


def _numbers(column: pa.Array) -> NDArray[np.float64]:
    values: NDArray[np.float64] = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return values


def _candidate_texts(column: pa.Array) -> pa.Array:
    """Return the texts of candidates as lists of strings; nulls become empty lists.

    :param column: lists of structs that have only the field ``answer``
    """
    # Not by Arrow's own functions for filling nulls, which import pandas if it is installed.
    lengths = np.nan_to_num(column.value_lengths().to_numpy(zero_copy_only=False)).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), column.flatten().field("answer"))


def _none(rows: int) -> pa.Array:
    return pa.array([[]] * rows, pa.list_(pa.string()))


def _read_lines(source: Source, found: _Rows) -> None:
    columns: dict[str, list[Any]] = {name: [] for name in (*_TEXTS, *_NUMBERS, *found.extra, "candidates")}
    for row in open_reader(source).rows():
        if row.error is not None or row.values is None:
            raise InputError(f"{where(source, row)}: {row.error}; name answers that qatool extract wrote")
        if not isinstance(row.values.get("id"), str) or "answer" not in row.values:
            raise InputError(f"{where(source, row)}: no id or no answer; name answers that qatool extract wrote")
        found.absent.difference_update(row.values)
        for name, values in columns.items():
            values.append(row.values.get(name))
    try:
        for name in _TEXTS:
            found.texts[name] += pa.array(columns[name], pa.string()).to_pylist()
        for name in _NUMBERS:
            found.numbers[name].append(_numbers(pa.array(columns[name], pa.float64())))
        texts = [[one["answer"] for one in entry or ()] for entry in columns["candidates"]]
        found.candidates.append(pa.array(texts, pa.list_(pa.string())))
    except (pa.ArrowException, TypeError, KeyError) as error:
        raise InputError(
            f"{source.path}: a value is of another type than in qatool's answers ({reason_of(error)})"
        ) from None
    for name in found.extra:
        found.extra[name] += columns[name]


def _predictions(source: Source) -> AnswerSet:
    values = _read_mapping(source.path)
    for name, text in values.items():
        if text is not None and not isinstance(text, str):
            raise InputError(f"{source.path}: the answer of {quoted(name)} is {quoted(text)}, not text; mend it")
    texts = list(values.values())
    return AnswerSet(
        ids=list(values),
        decided=texts,
        best=texts,
        rejected=np.zeros(len(texts), dtype=np.bool_),
        score=None,
        no_answer_score=None,
        n_windows=None,
        candidates=[],
        questions=[None] * len(texts),
        extra={},
    )


def _scored(answers: AnswerSet, path: str) -> AnswerSet:
    """Return the answers with their no-answer scores, in the order of the scores' file, as in the official script.

    The order decides between equal scores.

    :raises InputError: the file cannot be read, a score is not a number, or an answer has none
    """
    scores = _read_mapping(location(path))
    place = {name: row for row, name in enumerate(answers.ids)}
    for name, score in scores.items():
        if not is_number(score):
            raise InputError(
                f"{path}: the score of {quoted(name)} is {quoted(score)}, no number to decide by; mend it"
            )
    missing = [name for name in answers.ids if name not in scores]
    if missing:
        raise InputError(
            f"{path}: {len(missing):,} of {len(answers):,} answers have no score, the first {quoted(missing[0])}; "
            "score every answer"
        )
    order = np.array([place[name] for name in scores if name in place], dtype=np.int64)
    values = np.array([scores[name] for name in scores if name in place], dtype=np.float64)
    return replace(answers.take(order), no_answer_score=values)


def is_number(value: object) -> bool:
    """Return whether a value of JSON is a finite number that a double can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max  # as a NaN is not


def _read_mapping(path: Location) -> dict[str, Any]:
    """Return the JSON object in a file.

    :raises InputError: the file cannot be read, holds no object, or has a key twice
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) < len(pairs):
            _check_unique(str(path), [name for name, _ in pairs])
        return found

    try:
        values = json.loads(path.read_bytes(), object_pairs_hook=unique)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is no JSON ({error}); mend the file") from None
    if not isinstance(values, dict):
        raise InputError(f'{path}: is no JSON object; expected {{"id": ...}}, as the official SQuAD scripts take it')
    return values


def _unique(path: str, answers: AnswerSet) -> AnswerSet:
    """Return the answers without unreadable rows that have the id of another row.

    Their own ids could not be read either: they have numbers of rows as ids, which other rows may have, too.

    :raises InputError: of the other rows, two have one id
    """
    times = Counter(answers.ids)
    if len(times) == len(answers):
        return answers
    made_up = [
        is_rejected and question is None and times[name] > 1
        for name, is_rejected, question in zip(answers.ids, answers.rejected.tolist(), answers.questions, strict=True)
    ]
    kept = answers.take(np.flatnonzero(~np.array(made_up)))
    _check_unique(path, kept.ids)
    log_event(
        f"{path}: {counted(sum(made_up), 'row')} could not be read, and the number that stands for the id is also "
        "the id of another row: left out",
        level=logging.WARNING,
    )
    return kept


def _check_unique(path: str, ids: list[str]) -> None:
    if len(set(ids)) == len(ids):
        return
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise InputError(f"{path}: the id {quoted(name)} is there twice; ids must be unique to be evaluated")
        seen.add(name)


def made_of(path: str) -> dict[str, Any]:
    """Return the options that decided the answers, by name; empty if unknown (only Parquet files have them)."""
    options = _about(path).get("options")
    return options if isinstance(options, dict) else {}


def holds_best_only(path: str) -> bool | None:
    """Return whether answers are the best of each question over all documents; ``None`` if unknown."""
    about = _about(path)
    return about.get("best_per") is not None if about else None


def _about(path: str) -> dict[str, Any]:
    """Return the metadata ``qatool`` of a file of answers; empty if it has none."""
    source = next(iter(resolve([path])))
    if source.format != "parquet":
        return {}
    with reading(source), open_parquet(source.path) as file:
        about = (file.schema_arrow.metadata or {}).get(b"qatool", b"{}")
    try:
        found = json.loads(about)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
