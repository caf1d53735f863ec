"""Parquet: batches of rows, only the columns needed."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import types

from qatool.errors import InputError
from qatool.files.rows import Row, excerpt
from qatool.files.streams import reading

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from qatool.files.paths import Source

MAX_BATCH_ROWS = 1024
BATCH_BYTES = 32 << 20
DICTIONARY_BYTES = 1 << 20
READ_AHEAD_BYTES = 1 << 20


class Cells(NamedTuple):
    """One column of a batch as Python values."""

    values: list[Any]
    """``None`` for null and for text that is not UTF-8."""
    broken: dict[int, str]
    """What is wrong, by row of the batch."""


class ParquetReader:
    """Reads Parquet in batches of bounded size, whatever the row groups."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def columns(self) -> tuple[str, ...]:
        """Return the names of the columns.

        :raises InputError: the footer cannot be read
        """
        return tuple(self._arrow_schema().names)

    def arrow_type(self, column: str) -> pa.DataType | None:
        """Return the declared type, that of the values for encoded columns; ``None`` without such a column.

        :raises InputError: the footer cannot be read, or two columns have the name
        """
        places = self._arrow_schema().get_all_field_indices(column)
        if len(places) > 1:
            raise InputError(f"{self.source.path}: has {len(places)} columns {excerpt(column)}; rename them")
        return _value_type(self._arrow_schema().field(places[0]).type) if places else None

    def rows(self, columns: Collection[str] | None = None) -> Iterator[Row]:
        """Yield the rows; text that is not UTF-8 makes a bad row.

        :raises InputError: the file cannot be read
        """
        names = [name for name in self.columns() if columns is None or name in columns]
        # Arrow's default reads ahead over all row groups at once: the whole file would lie in memory.
        bounded = {"pre_buffer": False, "buffer_size": READ_AHEAD_BYTES}
        with reading(self.source), pq.ParquetFile(self.source.path, **bounded) as file:
            if not names:
                yield from (Row(number, None, {}) for number in range(file.metadata.num_rows))
                return
            start = 0
            for batch in file.iter_batches(_batch_rows(file.metadata, names), columns=names):
                yield from _batch(batch, names, start)
                start += batch.num_rows

    def _arrow_schema(self) -> pa.Schema:
        return footer(self.source).schema


class Footer(NamedTuple):
    """What the end of a file tells of it."""

    schema: pa.Schema
    num_rows: int


def footer(source: Source) -> Footer:
    """Read the end of a file, unless it was read before and has not changed since.

    :raises InputError: it cannot be read
    """
    with reading(source):
        state = source.path.stat()
        return _footer(source.path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=1 << 14)
def _footer(path: Path, _changed: int, _size: int) -> Footer:
    with pq.ParquetFile(path) as file:
        return Footer(file.schema_arrow, file.metadata.num_rows)


def _value_type(declared: pa.DataType) -> pa.DataType:
    if types.is_dictionary(declared) or types.is_run_end_encoded(declared):
        return declared.value_type
    return declared.storage_type if isinstance(declared, pa.BaseExtensionType) else declared


def _batch_rows(metadata: pq.FileMetaData, names: list[str]) -> int:
    """Return how many rows keep a batch near ``BATCH_BYTES``, judged from the heaviest row group."""
    heaviest = 1.0
    for place in range(metadata.num_row_groups):
        group = metadata.row_group(place)
        row_bytes = 0.0
        for leaf in range(group.num_columns):
            chunk = group.column(leaf)
            if chunk.path_in_schema.partition(".")[0] not in names and chunk.path_in_schema not in names:
                continue
            size = chunk.total_uncompressed_size
            mean = size / max(group.num_rows, 1)
            # A dictionary holds a repeated text once: the rows it unfolds to may each be a good part of it.
            folded = any("DICTIONARY" in encoding for encoding in chunk.encodings)
            row_bytes += max(mean, min(size, DICTIONARY_BYTES) / 8) if folded else mean
        heaviest = max(heaviest, row_bytes)
    return int(max(1, min(MAX_BATCH_ROWS, BATCH_BYTES / heaviest)))


def _batch(batch: pa.RecordBatch, names: list[str], start: int) -> Iterator[Row]:
    columns = [_cells(batch.column(batch.schema.get_field_index(name))) for name in names]
    if any(column.broken for column in columns):
        errors = [_errors(columns, names, place) for place in range(batch.num_rows)]
        yield from (
            Row(start + place, None, dict(zip(names, cells, strict=True)), errors[place])
            for place, cells in enumerate(zip(*(column.values for column in columns), strict=True))
        )
        return
    for number, cells in enumerate(zip(*(column.values for column in columns), strict=True), start):
        yield Row(number, None, dict(zip(names, cells, strict=True)))


def _errors(columns: list[Cells], names: list[str], place: int) -> str | None:
    found = [
        f"{excerpt(name)[1:-1]} {column.broken[place]}"
        for name, column in zip(names, columns, strict=True)
        if place in column.broken
    ]
    return "; ".join(found) or None


def _cells(column: pa.Array) -> Cells:
    """Return the values of a column; equal entries of a dictionary share one object."""
    declared = column.type
    if types.is_dictionary(declared):
        entries = _cells(column.dictionary)
        places = column.indices.to_pylist()
        broken = {row: entries.broken[at] for row, at in enumerate(places) if at in entries.broken}
        return Cells([None if at is None else entries.values[at] for at in places], broken)
    if types.is_run_end_encoded(declared):
        return _cells(pa.array(column.to_pylist(), declared.value_type))
    if isinstance(declared, pa.BaseExtensionType):
        return _cells(column.storage)
    # Too fine for Python's types: these stay Arrow scalars.
    if getattr(declared, "unit", None) == "ns":
        return Cells([cell if cell.is_valid else None for cell in column], {})
    try:
        return Cells(column.to_pylist(), {})
    except UnicodeDecodeError:
        return _cell_by_cell(column)


def _cell_by_cell(column: pa.Array) -> Cells:
    values: list[Any] = []
    broken: dict[int, str] = {}
    for row, cell in enumerate(column):
        try:
            values.append(cell.as_py())
        except UnicodeDecodeError as error:
            values.append(None)
            broken[row] = f"is not valid UTF-8 (byte {error.start + 1} of the text)"
    return Cells(values, broken)
