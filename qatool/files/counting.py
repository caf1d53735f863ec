"""How many rows there are, as far as that can be told quickly; for the progress display only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qatool.errors import InputError
from qatool.files.objects import ObjectPath
from qatool.files.parquet import footer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qatool.files.paths import Source

COUNTED_BYTES = 256 << 20
"""Lines of larger files are not counted beforehand."""


def total_rows(sources: Sequence[Source]) -> int | None:
    """Return the rows of all files; ``None`` when one of them would have to be parsed, or cannot be read."""
    total = 0
    for source in sources:
        rows = _rows(source)
        if rows is None:
            return None
        total += rows
    return total


def _rows(source: Source) -> int | None:
    try:
        if source.format == "text":
            return 1
        if source.format == "parquet":
            return footer(source).num_rows
        # An object would be fetched twice.
        if source.format != "jsonl" or source.compression is not None or isinstance(source.path, ObjectPath):
            return None
        if source.path.stat().st_size <= COUNTED_BYTES:
            with source.path.open("rb") as stream:
                return sum(1 for line in stream if line.strip())
    except (OSError, InputError):
        return None  # the reader will say what is wrong
    return None
