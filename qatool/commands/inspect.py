"""``qatool inspect``: show one example of features as a model sees it, or one answer in its context."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qatool.errors import InputError, UsageError
from qatool.evaluation.highlight import pieces
from qatool.evaluation.reading.answerrows import check_row, find_answer, is_answers
from qatool.evaluation.reading.contexts import Asked, find_contexts
from qatool.features.layout import is_features
from qatool.features.reader import FeaturesFolder, StoredExample
from qatool.files.sources.paths import resolve
from qatool.files.storage.locations import check_readable, is_there, location

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qatool.evaluation.highlight import Piece
    from qatool.files.storage.locations import Location
    from qatool.options import InspectOptions

AROUND = 240
"""Characters of context shown on either side of a candidate."""
_NUMBERS = ("no_answer_score", "n_windows", "n_windows_read")
"""Columns that must hold numbers to be shown."""


@dataclass(frozen=True, kw_only=True)
class InspectedWindow:
    """A window: its tokens as text, and its label."""

    number: int
    """0-based number of the window within its example."""
    tokens: Sequence[str]
    """Special tokens in the tokenizer's spelling, others with their text from question or context."""
    context: tuple[int, int]
    """The half-open range of the context's tokens."""
    label: tuple[int, int] | None
    """The half-open range of the answer's tokens; ``None`` if the window contains no answer or is not labelled."""
    label_text: str
    """The text of the context that the label covers; empty without a label."""


@dataclass(frozen=True, kw_only=True)
class InspectedExample:
    """An example of a folder of features."""

    row: int
    id: str
    question: str
    answers: Sequence[tuple[str, int]] | None
    """Pairs of text and offset; ``None`` if the example is not labelled."""
    error: str | None
    n_windows: int
    """Number of windows that the example was cut into; fewer are stored if some were dropped."""
    windows: Sequence[InspectedWindow]


@dataclass(frozen=True, kw_only=True)
class InspectedAnswer:
    """A row of answers."""

    row: int
    values: Mapping[str, Any]
    """The columns of the row."""
    context: Sequence[Piece] | None
    """The context, with candidates marked by rank; ``None`` if no corpus was named."""

    @property
    def candidates(self) -> Sequence[Mapping[str, Any]]:
        """The candidates, best first."""
        return self.values["candidates"] or ()


def run(options: InspectOptions) -> InspectedExample | InspectedAnswer:
    """Return the example or the answer asked for.

    :raises InputError: the path cannot be read or inspected, or has no such example
    :raises UsageError: a corpus is named for features, which contain their contexts
    """
    path = location(options.path)
    if not is_there(path):
        raise InputError(f"{path}: no such file or folder; check the path")
    check_readable(path)
    if isinstance(path, Path) and is_features(path):
        if options.corpus is not None:
            raise UsageError(f"--corpus: {path} holds features, which have their contexts with them; drop it")
        return _of_features(FeaturesFolder(path), options)
    if is_answers(path):
        return _of_answers(path, options)
    raise InputError(f"{path}: cannot be inspected; name what qatool prep made, or answers of qatool extract")


def _of_answers(path: Location, options: InspectOptions) -> InspectedAnswer:
    row, values = find_answer(path, row=options.row, name=options.id)
    check_row(str(path), row, values, numbers=_NUMBERS)
    if options.corpus is None:
        return InspectedAnswer(row=row, values=values, context=None)
    mark = values["fingerprint"]
    wanted = {} if mark is None else {mark: Asked(values["question"] or "", values.get("document_id"))}
    contexts = find_contexts(resolve([options.corpus]), wanted, column=options.column)
    if mark is not None and mark not in contexts:
        raise InputError(
            f"--corpus {options.corpus}: does not hold the question and context of this answer; name the very input "
            "it was found in"
        )
    spans = [(one["answer_start"], one["answer_end"]) for one in values["candidates"] or ()]
    context = pieces(contexts[mark], spans, around=AROUND) if mark is not None else []
    return InspectedAnswer(row=row, values=values, context=context)


def _of_features(folder: FeaturesFolder, options: InspectOptions) -> InspectedExample:
    if len(folder) == 0:
        raise InputError(f"{folder.path}: holds no example")
    row = options.row
    if row is None:
        row = folder.first_labelled() if options.id is None else folder.row_of(options.id)
    stored = folder.example(row)
    answers = stored.values["answers"]
    return InspectedExample(
        row=row,
        id=stored.values["id"] or "",
        question=stored.values["question"] or "",
        answers=None if answers is None else list(zip(answers["text"], answers["answer_start"], strict=True)),
        error=stored.values["error"],
        n_windows=stored.values["n_windows"],
        windows=[_window(values, stored, folder.manifest.special_tokens) for values in stored.windows],
    )


def _window(values: Mapping[str, Any], stored: StoredExample, special: Mapping[str, str]) -> InspectedWindow:
    question, context = stored.values["question"], stored.values["context"]
    first, end = values["context_start"], values["context_end"]
    start = values["start_positions"]
    pieces = zip(values["input_ids"], values["offset_mapping"], strict=True)
    tokens = [
        (context if first <= place < end else question)[begin:stop] or special.get(str(token), f"<{token}>")
        for place, (token, (begin, stop)) in enumerate(pieces)
    ]
    label, text = None, ""
    if start is not None and first <= start < end:
        label = start, values["end_positions"] + 1
        offsets = values["offset_mapping"]
        text = context[offsets[start][0] : offsets[values["end_positions"]][1]]
    return InspectedWindow(number=values["window"], tokens=tokens, context=(first, end), label=label, label_text=text)
