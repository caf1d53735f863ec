"""Read a folder of features back: part by part, or a single example with its windows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qatool.errors import InputError
from qatool.features.layout import Manifest, examples_name, features_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


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
    """A whole folder of features.

    :raises InputError: it was not made by ``qatool prep``, or files are missing or of another length
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest = Manifest.load(path)
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
    try:
        return int(pq.read_metadata(path).num_rows)
    except FileNotFoundError:
        raise InputError(f"{path}: is missing; make the features again") from None
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read ({error}); make the features again") from error


def _read(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    try:
        return pq.read_table(path, columns=None if columns is None else list(columns))
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read ({error}); make the features again") from error
