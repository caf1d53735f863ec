"""Rows with partition columns added, which the folders above the file name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from qatool.files.sources.partitions import Partitions
    from qatool.files.sources.rows import Reader, Row


class PartitionedReader:
    """Reads a file and adds its partition columns; a column of the file itself takes precedence over a partition."""

    def __init__(self, reader: Reader, partitions: Partitions) -> None:
        self.reader = reader
        self._partitions = {partition.name: partition for partition in partitions}

    @property
    def names(self) -> tuple[str, ...]:
        """The partition columns."""
        return tuple(self._partitions)

    def columns(self) -> tuple[str, ...] | None:
        """Return the file's columns, then the partition columns.

        :raises InputError: the file cannot be read
        """
        own = self.reader.columns()
        return None if own is None else (*own, *(name for name in self._partitions if name not in own))

    def arrow_type(self, column: str) -> pa.DataType | None:
        """Return the type that the file declares for the column or, for a partition column, the type of its values.

        :raises InputError: the file cannot be read
        """
        own = self.reader.columns()
        if column in self._partitions and own is not None and column not in own:
            return pa.int64() if self._partitions[column].is_integer else pa.string()
        return self.reader.arrow_type(column)

    def rows(self, columns: Collection[str] | None = None) -> Iterator[Row]:
        """Yield the rows of the file, with the values of its partitions.

        :raises InputError: the file cannot be read
        """
        return self.with_values(self.reader.rows(columns), columns)

    def with_values(self, rows: Iterator[Row], columns: Collection[str] | None) -> Iterator[Row]:
        """Return the given rows with the values of those partitions that are among the columns."""
        wanted = [one for one in self._partitions.values() if columns is None or one.name in columns]
        values = {partition.name: partition.value for partition in wanted}
        if not values:
            return rows
        return (row if row.values is None else row._replace(values={**values, **row.values}) for row in rows)
