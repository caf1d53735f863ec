"""Parquet, read in batches of rows and only the columns needed."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import types

from qatool.errors import InputError
from qatool.files.sources.rows import Row, quoted
from qatool.files.sources.streams import reading
from qatool.files.storage.objects import ObjectPath
from qatool.files.values.arrowvalue import ArrowValue
from qatool.files.values.jsonlines import UNFIT

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from qatool.files.sources.source import Source
    from qatool.files.storage.locations import Location

MAX_BATCH_ROWS = 1024
FOOTERS_AT_ONCE = 16
KNOWN_FOOTERS = 1 << 18
"""How many footers are cached, at some hundred bytes each."""
BATCH_BYTES = 32 << 20
DICTIONARY_BYTES = 1 << 20
READ_AHEAD_BYTES = 1 << 20
STORE_READ_AHEAD_BYTES = 8 << 20
"""Read-ahead for objects: larger, because each read is a request."""


class Cells(NamedTuple):
    """One column of a batch as Python values."""

    values: list[Any]
    """One value for each row; ``None`` for null and for text that is not UTF-8."""
    broken: dict[int, str]
    """What is wrong with unreadable cells, by 0-based row of the batch."""


class ParquetReader:
    """Reads Parquet in batches of bounded size, however large the row groups are."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def columns(self) -> tuple[str, ...]:
        """Return the names of the columns.

        :raises InputError: the footer cannot be read
        """
        return tuple(self._arrow_schema().names)

    def arrow_type(self, column: str) -> pa.DataType | None:
        """Return the declared type of a column (of an encoded one, the type of its values), ``None`` if missing.

        :raises InputError: the footer cannot be read, or two columns have the name
        """
        place = self._place(column)
        return None if place is None else _value_type(self._arrow_schema().field(place).type)

    def rows(self, columns: Collection[str] | None = None) -> Iterator[Row]:
        """Yield the rows; a row with text that is not UTF-8 is a bad row.

        :raises InputError: the file cannot be read, or two of the columns needed have one name
        """
        names = [name for name in self.columns() if columns is None or name in columns]
        for name in names:
            self._place(name)
        with reading(self.source), open_parquet(self.source.path, bounded=True) as file:
            if not names:
                yield from (Row(number, None, {}) for number in range(file.metadata.num_rows))
                return
            start = 0
            for batch in file.iter_batches(_batch_rows(file.metadata, names), columns=names):
                yield from _batch(batch, names, start)
                start += batch.num_rows

    def _place(self, column: str) -> int | None:
        """Return the index of a column, ``None`` if it is missing.

        :raises InputError: two columns have the name
        """
        places = self._arrow_schema().get_all_field_indices(column)
        if len(places) > 1:
            raise InputError(f"{self.source.path}: has {len(places)} columns {quoted(column)}; rename them")
        return places[0] if places else None

    def _arrow_schema(self) -> pa.Schema:
        return footer(self.source).schema


def arrow_source(path: Path) -> Path | pa.NativeFile:
    """Return what to give Arrow to read a file: its path or, if that is not UTF-8, the opened file.

    :raises OSError: the file cannot be opened
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return pa.OSFile(os.fsencode(path))
    return path


def open_parquet(path: Location, *, bounded: bool = False) -> pq.ParquetFile:
    """Open a Parquet file, which the caller must close; of an object, only the byte ranges needed are fetched.

    :param bounded: whether to read columns piece by piece, so that memory does not grow with the row groups
    :raises OSError: the file cannot be opened
    :raises pyarrow.ArrowException: the file is not Parquet
    """
    # Not pre_buffer, Arrow's default, which reads all row groups ahead and so holds the whole file in memory.
    if not isinstance(path, ObjectPath):
        return pq.ParquetFile(arrow_source(path), pre_buffer=False, buffer_size=READ_AHEAD_BYTES if bounded else 0)
    return pq.ParquetFile(path.open_ranges(), pre_buffer=False, buffer_size=STORE_READ_AHEAD_BYTES if bounded else 0)


class Footer(NamedTuple):
    """The part of a Parquet file's footer that is used here."""

    schema: pa.Schema
    num_rows: int


def footer(source: Source) -> Footer:
    """Return the footer of a Parquet file, from the cache if the file has not changed since it was read.

    :raises InputError: the file cannot be read
    """
    with reading(source):
        if isinstance(source.path, ObjectPath):
            told = source.listed or source.path.stat()
            return _footer(source.path, told.version, told.st_size)
        state = source.path.stat()
        return _footer(source.path, state.st_mtime_ns, state.st_size)


_schemas: dict[bytes, pa.Schema] = {}


@lru_cache(maxsize=KNOWN_FOOTERS)
def _footer(path: Location, _version: int | str, _size: int) -> Footer:
    with open_parquet(path) as file:
        schema = file.schema_arrow
        # Files of a data set have equal schemas, of which only one is kept in memory.
        return Footer(_schemas.setdefault(schema.serialize().to_pybytes(), schema), file.metadata.num_rows)


def learn_footers(sources: Sequence[Source]) -> None:
    """Read the footers of all Parquet files in a store in parallel, into the cache of :func:`footer`.

    :raises InputError: a file cannot be read
    """
    remote = [source for source in sources if source.format == "parquet" and isinstance(source.path, ObjectPath)]
    if len(remote) > 1:
        with ThreadPoolExecutor(FOOTERS_AT_ONCE, thread_name_prefix="qatool-footer") as pool:
            try:
                for _ in pool.map(footer, remote):
                    pass
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _value_type(declared: pa.DataType) -> pa.DataType:
    if types.is_dictionary(declared) or types.is_run_end_encoded(declared):
        return declared.value_type
    return declared.storage_type if isinstance(declared, pa.BaseExtensionType) else declared


def _batch_rows(metadata: pq.FileMetaData, names: list[str]) -> int:
    """Return the number of rows that make a batch of about ``BATCH_BYTES``, estimated from the heaviest row group."""
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
            # A dictionary stores a repeated text once: each row that refers to it may be a large part of its size.
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
        f"{quoted(name)[1:-1]} {column.broken[place]}"
        for name, column in zip(names, columns, strict=True)
        if place in column.broken
    ]
    return "; ".join(found) or None


def _cells(column: pa.Array) -> Cells:
    """Return the values of a column; equal entries of a dictionary share one object."""
    declared = column.type
    if types.is_dictionary(declared):
        # A batch may use only a few of very many entries.
        used = pc.unique(column.indices).drop_null()
        entries = _cells(column.dictionary.take(used))
        places = pc.index_in(column.indices, used).to_pylist()
        broken = {row: entries.broken[at] for row, at in enumerate(places) if at in entries.broken}
        return Cells([None if at is None else entries.values[at] for at in places], broken)
    if types.is_run_end_encoded(declared):
        return _cells(pa.array(column.to_pylist(), declared.value_type))
    if isinstance(declared, pa.BaseExtensionType):
        return _cells(column.storage)
    if _has_nanoseconds(declared):
        valid = column.is_valid().to_pylist()
        return Cells([ArrowValue(column, row) if ok else None for row, ok in enumerate(valid)], {})
    try:
        return Cells(column.to_pylist(), {})
    except UNFIT:
        return _cell_by_cell(column)


def _has_nanoseconds(declared: pa.DataType) -> bool:
    """Return whether a type is, or contains, a type of times in nanoseconds, which Python's own types lack."""
    inner = (declared.field(place).type for place in range(declared.num_fields))
    return getattr(declared, "unit", None) == "ns" or any(map(_has_nanoseconds, inner))


def _cell_by_cell(column: pa.Array) -> Cells:
    values: list[Any] = []
    broken: dict[int, str] = {}
    for row, cell in enumerate(column):
        try:
            values.append(cell.as_py())
        except UnicodeDecodeError as error:
            values.append(None)
            broken[row] = f"is not valid UTF-8 (byte {error.start + 1} of the text)"
        except UNFIT:
            values.append(ArrowValue(column, row))
    return Cells(values, broken)
