"""Hive partitions: folders named ``year=2024`` give every file below them a column ``year``."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from urllib.parse import unquote

import pyarrow as pa

from qatool.files.sources.rows import Row

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from qatool.files.sources.paths import Source
    from qatool.files.sources.rows import Reader

NULL = "__HIVE_DEFAULT_PARTITION__"
"""What Hive calls the folder of rows whose column is null."""
_FOLDER = re.compile(r"([^=]+)=(.*)", re.DOTALL)
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")


class Partition(NamedTuple):
    """A column that a folder names, and its value for the files below."""

    name: str
    value: str | int | None
    is_integer: bool = False


Partitions: TypeAlias = tuple[Partition, ...]


@lru_cache(maxsize=1 << 16)
def partitions_of(folder: str) -> Partitions:
    """Return the columns that the names of a folder and those above it give, all as text so far."""
    found = (_FOLDER.fullmatch(part) for part in folder.split("/"))
    named = {unquote(one[1]): None if one[2] == NULL else unquote(one[2]) for one in found if one is not None}
    return tuple(Partition(name, value) for name, value in named.items())


def typed(sources: Sequence[Source]) -> list[Source]:
    """Return the sources with integers for the columns that hold nothing else in any of them.

    ``01`` is text, as it would not come back from an integer as it was.
    """
    values: defaultdict[str, set[str | int | None]] = defaultdict(set)
    for partitions in {source.partitions for source in sources}:
        for partition in partitions:
            values[partition.name].add(partition.value)
    integers = {name for name, found in values.items() if found != {None} and all(map(_is_integer, found))}
    if not integers:
        return list(sources)
    converted = {
        partitions: tuple(_as_integer(one) if one.name in integers else one for one in partitions)
        for partitions in {source.partitions for source in sources}
    }
    return [replace(source, partitions=converted[source.partitions]) for source in sources]


def _is_integer(value: str | int | None) -> bool:
    return value is None or _INTEGER.fullmatch(str(value)) is not None


def _as_integer(partition: Partition) -> Partition:
    return Partition(partition.name, None if partition.value is None else int(partition.value), is_integer=True)


class PartitionedReader:
    """Reads a file with the columns that its folders name; a column of the file itself comes before one of those."""

    def __init__(self, reader: Reader, partitions: Partitions) -> None:
        self.reader = reader
        self._partitions = {partition.name: partition for partition in partitions}

    def columns(self) -> tuple[str, ...] | None:
        """Return the file's columns, then those of its folders.

        :raises InputError: the file cannot be read
        """
        own = self.reader.columns()
        return None if own is None else (*own, *(name for name in self._partitions if name not in own))

    def arrow_type(self, column: str) -> pa.DataType | None:
        """Return the type that the file declares for the column, or that its folders give it.

        :raises InputError: the file cannot be read
        """
        own = self.reader.columns()
        if column in self._partitions and own is not None and column not in own:
            return pa.int64() if self._partitions[column].is_integer else pa.string()
        return self.reader.arrow_type(column)

    def rows(self, columns: Collection[str] | None = None) -> Iterator[Row]:
        """Yield the rows of the file, with the values of its folders.

        :raises InputError: the file cannot be read
        """
        return self.with_values(self.reader.rows(columns), columns)

    def with_values(self, rows: Iterator[Row], columns: Collection[str] | None) -> Iterator[Row]:
        """Return rows of the file with those values of its folders that are among the columns."""
        wanted = [one for one in self._partitions.values() if columns is None or one.name in columns]
        values = {partition.name: partition.value for partition in wanted}
        if not values:
            return rows
        return (row if row.values is None else row._replace(values={**values, **row.values}) for row in rows)
