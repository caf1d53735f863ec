"""Read a folder of features back: part by part, or a single example with its windows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qatool.errors import InputError, UsageError
from qatool.features.layout import Manifest, examples_name, features_name
from qatool.features.restore import StoredWindows
from qatool.files.formats.parquet import arrow_source
from qatool.windows.cut import WindowSize, question_budget
from qatool.windows.ragged import Ints, ranges

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from qatool.options import WindowOptions
    from qatool.windows.tokenizer import PairTokenizer

WINDOW_COLUMNS = (
    "input_ids", "token_type_ids", "offset_mapping", "overflow_to_sample_mapping", "window", "context_start",
    "context_end",
)  # fmt: skip
"""The columns of the features that a model's input is made of; those of labels are not read."""

_SHORT = 8
"""Characters of a fingerprint that tell two apart."""


@dataclass(frozen=True, kw_only=True)
class StoredExample:
    """An example as it was read, and its windows as they are stored."""

    row: int
    """Position among all examples, from 0."""
    values: dict[str, Any]
    """By column of the file of examples."""
    windows: Sequence[dict[str, Any]]
    """By column of the features, in order."""


class FeaturesFolder:
    """A whole folder of features. In memory is one part at most, whatever the number of parts.

    :raises InputError: it was not made by ``qatool prep``, or files are missing or of another length
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest = Manifest.load(path)
        self._held: tuple[int, StoredWindows] | None = None
        self._first_rows: list[int] = list(accumulate((part["examples"] for part in self.manifest.files), initial=0))
        for index, part in enumerate(self.manifest.files):
            for file, rows in ((self.features(index), part["features"]), (self.examples(index), part["examples"])):
                found = _rows(file)
                if found != rows:
                    raise InputError(
                        f"{file}: has {found} rows where the manifest says {rows}; make the features again"
                    )

    def __len__(self) -> int:
        return self._first_rows[-1]

    @property
    def parts(self) -> int:
        """How many files of features there are."""
        return len(self.manifest.files)

    @property
    def size(self) -> WindowSize:
        """How the windows were cut."""
        made = self.manifest
        return WindowSize(max_length=made.max_length, stride=made.stride, question_budget=made.max_question_length)

    def check_size(self, options: WindowOptions, *, n_special: int) -> None:
        """Make sure that no other windows are asked for than the folder holds.

        :param n_special: special tokens of a window
        :raises UsageError: a size is asked for that they do not have
        """
        size = self.size
        asked = options.max_question_length
        if asked is not None:
            asked = question_budget(
                max_length=size.max_length, stride=size.stride, n_special=n_special, max_question_length=asked
            )
        sizes = (
            ("max-length", options.max_length, options.max_length, size.max_length),
            ("stride", options.stride, options.stride, size.stride),
            ("max-question-length", options.max_question_length, asked, size.question_budget),
        )
        problems = [
            f"--{name} {given}: the windows in {self.path} were cut with {held}; drop it, or make the "
            f"features again with --{name} {given}"
            for name, given, resolved, held in sizes
            if resolved is not None and resolved != held
        ]
        if problems:
            raise UsageError(*problems)

    def check_tokenizer(self, tokenizer: PairTokenizer) -> None:
        """Make sure that the windows were cut with a tokenizer.

        :raises InputError: they were cut with another
        """
        made_with = self.manifest.tokenizer
        if made_with != tokenizer.fingerprint:
            raise InputError(
                f"{self.path}: was made with another tokenizer ({made_with[:_SHORT]}) than that of "
                f"{tokenizer.name} ({tokenizer.fingerprint[:_SHORT]}); make the features again with "
                f"--model {tokenizer.name}, or name the model they were made for"
            )

    def check_token_types(self, tokenizer: PairTokenizer) -> None:
        """Make sure that the windows tell question and context apart as a model is to be trained to.

        :raises InputError: they hold no token types, and the model's tokenizer gives them
        """
        there = self.parts == 0 or "token_type_ids" in _footer(self.features(0)).schema.to_arrow_schema().names
        if tokenizer.uses_token_types and not there:
            raise InputError(
                f"{self.path}: holds no token_type_ids, which {tokenizer.name} is read with; make the features again "
                f"with --model {tokenizer.name}"
            )

    def check_limit(self, limit: int) -> None:
        """Make sure that a model can read the windows.

        :param limit: longest window it reads, in tokens
        :raises InputError: they are longer
        """
        if self.manifest.max_length > limit:
            raise InputError(
                f"{self.path}: holds windows of {self.manifest.max_length} tokens, and the model reads at most "
                f"{limit}; make the features again with --max-length {limit} or less"
            )

    def features(self, index: int) -> Path:
        """Return where the features of a part are."""
        return self.path / features_name(index, self.parts)

    def examples(self, index: int) -> Path:
        """Return where the examples of a part are."""
        return self.path / examples_name(index, self.parts)

    def example(self, row: int) -> StoredExample:
        """Return the example in a row.

        :raises InputError: there are fewer rows
        """
        if row >= len(self):
            raise InputError(f"{self.path}: holds {len(self):,} examples; name a row below that with --row")
        index = next(i for i, first in enumerate(self._first_rows[1:]) if row < first)
        values = _read(self.examples(index)).slice(row - self._first_rows[index], 1).to_pylist()[0]
        features = _read(self.features(index))
        windows = features.filter(pc.equal(features["overflow_to_sample_mapping"], row)).to_pylist()
        return StoredExample(row=row, values=values, windows=windows)

    def windows(self, rows: Ints) -> StoredWindows:
        """Return all windows of some examples.

        :param rows: ``(n,)`` positions among all examples, ascending
        :raises InputError: a file cannot be read, or windows are missing from it
        """
        parts = np.searchsorted(self._first_rows, rows, side="right") - 1
        found = [self._windows_of(index, rows[parts == index]) for index in np.unique(parts).tolist()]
        return StoredWindows.joined(found)

    def _windows_of(self, part: int, rows: Ints) -> StoredWindows:
        """Return the windows of examples of one part, which stays in memory until another is asked for.

        :raises InputError: a file cannot be read, or windows are missing from it
        """
        if self._held is None or self._held[0] != part:
            self._held = None  # first: two parts must not stand in memory
            stored = _stored_windows(self.features(part))
            own = _read(self.examples(part), ["n_windows"])["n_windows"].to_numpy()
            found = np.bincount(np.maximum(stored.row - self._first_rows[part], 0), minlength=len(own))
            if not np.array_equal(found, own):
                raise InputError(f"{self.features(part)}: does not hold all windows; make the features again")
            self._held = part, stored
        stored = self._held[1]
        first = np.searchsorted(stored.row, rows)
        return stored.take(ranges(first, np.searchsorted(stored.row, rows, side="right") - first))

    def row_of(self, example_id: str) -> int:
        """Return the row of the first example with an id.

        :raises InputError: there is none
        """
        for index, ids in self._column("id"):
            place = pc.index(ids, example_id).as_py()
            if place >= 0:
                return self._first_rows[index] + int(place)
        raise InputError(f"{self.path}: holds no example with the id {example_id!a}; check --id")

    def first_labelled(self) -> int:
        """Return the row of the first example with an answer, else 0."""
        for index, answers in self._column("answers"):
            found = pc.list_value_length(pc.struct_field(answers, "answer_start"))
            place = pc.index(pc.fill_null(pc.greater(found, 0), fill_value=False), value=True).as_py()
            if place >= 0:
                return self._first_rows[index] + int(place)
        return 0

    def _column(self, name: str) -> Iterator[tuple[int, pa.ChunkedArray]]:
        for index in range(self.parts):
            yield index, _read(self.examples(index), [name])[name]


def _rows(path: Path) -> int:
    return int(_footer(path).num_rows)


def _footer(path: Path) -> pq.FileMetaData:
    try:
        return pq.read_metadata(arrow_source(path))
    except FileNotFoundError:
        raise InputError(f"{path}: is missing; make the features again") from None
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read ({error}); make the features again") from error


def _stored_windows(path: Path) -> StoredWindows:
    """Read a file of features, but for its labels.

    :raises InputError: it cannot be read
    """
    table = _read(path, WINDOW_COLUMNS)
    try:
        ids, types = table["input_ids"].combine_chunks(), None
        if "token_type_ids" in table.column_names:
            types = table["token_type_ids"].combine_chunks().values.to_numpy()
        stored = StoredWindows(
            row=table["overflow_to_sample_mapping"].to_numpy(),
            window=table["window"].to_numpy(),
            context_start=table["context_start"].to_numpy().astype(np.int64),
            context_end=table["context_end"].to_numpy().astype(np.int64),
            boundaries=ids.offsets.to_numpy().astype(np.int64),
            input_ids=ids.values.to_numpy(),
            offset_mapping=table["offset_mapping"].combine_chunks().values.flatten().to_numpy().reshape(-1, 2),
            token_type_ids=types,
        )
    except (KeyError, ValueError, AttributeError, pa.ArrowException) as error:
        raise InputError(f"{path}: its columns are not those of features ({error}); make them again") from error
    tokens = {len(stored.input_ids), len(stored.offset_mapping), stored.boundaries[-1]}
    if len(tokens) > 1 or (np.diff(stored.row) < 0).any() or (types is not None and len(types) not in tokens):
        raise InputError(f"{path}: its columns contradict each other; make the features again")
    return stored


def _read(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read those of some columns that a file has.

    :raises InputError: it cannot be read
    """
    try:
        with pq.ParquetFile(arrow_source(path)) as file:
            return file.read(None if columns is None else list(columns))
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read ({error}); make the features again") from error
