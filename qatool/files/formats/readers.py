"""The reader for each format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qatool.files.formats.delimited import DelimitedReader
from qatool.files.formats.jsonl import JsonlReader
from qatool.files.formats.nested import NestedReader
from qatool.files.formats.parquet import ParquetReader
from qatool.files.formats.partitioned import PartitionedReader
from qatool.files.formats.plaintext import TextReader

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from qatool.files.sources.rows import Reader, Row
    from qatool.files.sources.source import Format, Source

_READERS: dict[Format, Callable[[Source], Reader]] = {
    "parquet": ParquetReader,
    "jsonl": JsonlReader,
    "csv": DelimitedReader,
    "tsv": DelimitedReader,
    "json": NestedReader,
    "text": TextReader,
}


def open_reader(source: Source) -> Reader:
    """Return a reader for a file, without reading from it yet."""
    reader = _READERS[source.format](source)
    return PartitionedReader(reader, source.partitions) if source.partitions else reader


def columns_of(reader: Reader, needed: Collection[str]) -> tuple[str, ...] | None:
    """Return the columns of a file or, if it is SQuAD that lacks needed ones, the fields of its questions.

    :returns: ``None`` where every record may have its own
    :raises InputError: the file cannot be read
    """
    if isinstance(reader, NestedReader):
        return reader.lacking(needed)
    if isinstance(reader, PartitionedReader) and isinstance(reader.reader, NestedReader):
        own = reader.reader.lacking(set(needed) - set(reader.names))
        return None if own is None else (*own, *reader.names)
    return reader.columns()


def documents_of(reader: Reader, columns: Collection[str]) -> Iterator[Row]:
    """Yield one row for each document: a paragraph in nested SQuAD, a row in any other format.

    :raises InputError: as :meth:`~qatool.files.sources.rows.Reader.rows`
    """
    if isinstance(reader, PartitionedReader):
        return reader.with_values(documents_of(reader.reader, columns), columns)
    return reader.documents(columns) if isinstance(reader, NestedReader) else reader.rows(columns)
