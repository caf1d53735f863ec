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
    from collections.abc import Callable

    from qatool.files.paths import Format, Source
    from qatool.files.rows import Reader

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
