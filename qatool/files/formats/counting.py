"""Count the rows of the input if that is quick, for the progress display."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qatool.errors import InputError
from qatool.files.formats.parquet import footer
from qatool.files.formats.readers import documents_of, open_reader
from qatool.files.storage.objects import ObjectPath

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qatool.files.sources.source import Source

COUNTED_BYTES = 256 << 20
"""Largest total size at which rows are counted beforehand, in bytes of JSON Lines or their equivalent."""
_A_RECORD_BYTE = 32
"""Cost of reading a byte of a format that must be parsed (CSV, TSV, JSON), relative to counting lines of JSONL."""


def total_rows(sources: Sequence[Source], *, documents: bool = False) -> int | None:
    """Return the number of rows of all files; ``None`` if counting would take too long, or a file cannot be read.

    :param documents: whether to count documents, which in nested SQuAD are paragraphs, not questions
    """
    try:
        if sum(map(_bytes_to_read, sources)) > COUNTED_BYTES:
            return None
        return sum(_rows(source, documents=documents) for source in sources)
    except (OSError, InputError):
        return None  # the reader will say what is wrong


def _bytes_to_read(source: Source) -> float:
    """Return the cost of counting the rows of a file, in bytes of JSON Lines to be read."""
    if source.format in {"text", "parquet"}:
        return 0
    # An object would be fetched twice.
    if source.compression is not None or isinstance(source.path, ObjectPath):
        return math.inf
    return source.path.stat().st_size * (1 if source.format == "jsonl" else _A_RECORD_BYTE)


def _rows(source: Source, *, documents: bool) -> int:
    if source.format == "text":
        return 1
    if source.format == "parquet":
        return footer(source).num_rows
    if source.format != "jsonl":
        reader = open_reader(source)
        return sum(1 for _ in (documents_of(reader, ()) if documents else reader.rows(())))
    with source.path.open("rb") as stream:
        return sum(1 for line in stream if line.strip())
