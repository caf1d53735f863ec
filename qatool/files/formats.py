"""Which reader reads which format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qatool.files.delimited import DelimitedReader
from qatool.files.jsonl import JsonlReader
from qatool.files.nested import NestedReader
from qatool.files.parquet import ParquetReader
from qatool.files.partitions import PartitionedReader
from qatool.files.plaintext import TextReader

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from qatool.files.paths import Format, Source
    from qatool.files.rows import Reader, Row

_READERS: dict[Format, Callable[[Source], Reader]] = {
    "parquet": ParquetReader,
    "jsonl": JsonlReader,
    "csv": DelimitedReader,
    "tsv": DelimitedReader,
    "json": NestedReader,
    "text": TextReader,
}


def open_reader(source: Source) -> Reader:
    """Return the reader of a file; nothing is read yet."""
    reader = _READERS[source.format](source)
    return PartitionedReader(reader, source.partitions) if source.partitions else reader


def documents_of(reader: Reader, columns: Collection[str]) -> Iterator[Row]:
    """Yield rows that are a document each: of nested SQuAD a paragraph, of anything else a row.

    :raises InputError: as :meth:`~qatool.files.rows.Reader.rows`
    """
    if isinstance(reader, PartitionedReader):
        return reader.with_values(documents_of(reader.reader, columns), columns)
    return reader.documents(columns) if isinstance(reader, NestedReader) else reader.rows(columns)
