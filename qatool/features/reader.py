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
"""The columns of the features that are needed for a model's input: all but the labels."""

_SHORT = 8
"""How many characters of a fingerprint are shown."""


@dataclass(frozen=True, kw_only=True)
class StoredExample:
    """An example and its windows, as stored."""

    row: int
    """0-based row among all examples."""
    values: dict[str, Any]
    """Its values by column of the file of examples."""
    windows: Sequence[dict[str, Any]]
    """Its windows, in order, each as values by column of the file of features."""


class FeaturesFolder:
    """A folder of features, with at most one part in memory.

    :raises InputError: the folder was not made by ``qatool prep``, or a file is missing or has another number of rows
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
        """The number of files of features."""
        return len(self.manifest.files)

    @property
    def size(self) -> WindowSize:
        """The sizes by which the windows were cut."""
        made = self.manifest
        return WindowSize(max_length=made.max_length, stride=made.stride, question_budget=made.max_question_length)

    def check_size(self, options: WindowOptions, *, n_special: int) -> None:
        """Check that the options ask for no other window sizes than those of the folder.

        :param n_special: number of special tokens in a window
        :raises UsageError: an option asks for another size
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
        """Check that the windows were made with this tokenizer.

        :raises InputError: they were made with another one
        """
        made_with = self.manifest.tokenizer
        if made_with != tokenizer.fingerprint:
            raise InputError(
                f"{self.path}: was made with another tokenizer ({made_with[:_SHORT]}) than that of "
                f"{tokenizer.name} ({tokenizer.fingerprint[:_SHORT]}); make the features again with "
                f"--model {tokenizer.name}, or name the model they were made for"
            )

    def check_token_types(self, tokenizer: PairTokenizer) -> None:
        """Check that the features have token types if the model uses them.

        :raises InputError: the model's tokenizer returns token types, and the features have none
        """
        there = self.parts == 0 or "token_type_ids" in _footer(self.features(0)).schema.to_arrow_schema().names
        if tokenizer.uses_token_types and not there:
            raise InputError(
                f"{self.path}: holds no token_type_ids, which {tokenizer.name} is read with; make the features again "
                f"with --model {tokenizer.name}"
            )

    def check_limit(self, limit: int) -> None:
        """Check that a model can read windows of this length.

        :param limit: longest window that the model reads, in tokens
        :raises InputError: the windows may be longer
        """
        if self.manifest.max_length > limit:
            raise InputError(
                f"{self.path}: holds windows of {self.manifest.max_length} tokens, and the model reads at most "
                f"{limit}; make the features again with --max-length {limit} or less"
            )

    def features(self, index: int) -> Path:
        """Return the path of the features of a part."""
        return self.path / features_name(index, self.parts)

    def examples(self, index: int) -> Path:
        """Return the path of the examples of a part."""
        return self.path / examples_name(index, self.parts)

    def example(self, row: int) -> StoredExample:
        """Return the example with this 0-based row, with its windows.

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

        :param rows: ``(n,)``: rows among all examples, ascending
        :raises InputError: a file cannot be read, or lacks windows
        """
        parts = np.searchsorted(self._first_rows, rows, side="right") - 1
        found = [self._windows_of(index, rows[parts == index]) for index in np.unique(parts).tolist()]
        return StoredWindows.joined(found)

    def _windows_of(self, part: int, rows: Ints) -> StoredWindows:
        """Return the windows of examples of one part, which stays in memory until another part is needed.

        :raises InputError: a file cannot be read, or lacks windows
        """
        if self._held is None or self._held[0] != part:
            self._held = None  # before reading, so that two parts are never in memory
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
        """Return the row of the first example with this id.

        :raises InputError: no example has it
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
    """Return the windows in a file of features, without labels.

    :raises InputError: the file cannot be read
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
    """Return the table in a file.

    :param columns: the only columns to read, if the file has them; ``None`` for all
    :raises InputError: the file cannot be read
    """
    try:
        with pq.ParquetFile(arrow_source(path)) as file:
            return file.read(None if columns is None else list(columns))
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read ({error}); make the features again") from error
