"""Take rows of many tables in any order, without making a table for each row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

BLOCK_ROWS, BLOCK_BYTES = 16_384, 16 << 20
"""Picked rows are put together into blocks of about this many rows or bytes."""
SMALL_TABLES = 256
"""Tables that wait to be put together, at most: even a table of one row takes 16 kB."""


def gather(tables: Callable[[int], pa.Table], table: NDArray[np.integer], row: NDArray[np.integer]) -> pa.Table:
    """Return rows of several tables, in the order asked for.

    :param tables: returns a table by its number; called once for each table, in ascending order
    :param table: ``(n,)``, ``n > 0``: the number of the table that each row is in
    :param row: ``(n,)``: the position of each row in that table
    """
    taken, order = [], []
    for number in np.unique(table):
        chosen = np.flatnonzero(table == number)
        taken.append(tables(int(number)).take(pa.array(row[chosen])))
        order.append(chosen)
    joined = pa.concat_tables(taken).combine_chunks()
    return joined.take(pa.array(np.argsort(np.concatenate(order), kind="stable")))


class PickedRows:
    """Some rows of a sequence of tables, with little more than these rows held in memory.

    :param tables: the tables, in order
    :param wanted: ``(n,)``: positions of rows in all tables joined, ascending, each once
    """

    def __init__(self, tables: Iterable[pa.Table], wanted: NDArray[np.int64]) -> None:
        self._wanted = wanted
        self._blocks = list(blocks(_picked(tables, wanted), rows=BLOCK_ROWS, size=BLOCK_BYTES))
        self._begins = np.cumsum([0, *(block.num_rows for block in self._blocks)])

    def take(self, rows: NDArray[np.int64]) -> pa.Table:
        """Return ``rows (n,)``, ``n > 0``, in that order; all must be among the wanted ones."""
        place = np.searchsorted(self._wanted, rows)
        block = np.searchsorted(self._begins, place, side="right") - 1
        return gather(self._blocks.__getitem__, block, place - self._begins[block])


def _picked(tables: Iterable[pa.Table], wanted: NDArray[np.int64]) -> Iterator[pa.Table]:
    first = 0
    for table in tables:
        begin, end = np.searchsorted(wanted, [first, first + table.num_rows])
        if begin < end:
            yield table.take(pa.array(wanted[begin:end] - first))  # a slice would hold the whole table
        first += table.num_rows


def blocks(tables: Iterable[pa.Table], *, rows: int, size: int) -> Iterator[pa.Table]:
    """Yield tables joined into blocks of at least ``rows`` rows or ``size`` bytes; the last may be smaller."""
    held: list[pa.Table] = []
    held_rows = held_bytes = 0
    for table in tables:
        held.append(table)
        held_rows += table.num_rows
        held_bytes += table.nbytes
        is_full = held_rows >= rows or held_bytes >= size
        if is_full or len(held) == SMALL_TABLES:
            held = [pa.concat_tables(held).combine_chunks()]
        if is_full:
            yield held.pop()
            held_rows = held_bytes = 0
    if held:
        yield pa.concat_tables(held).combine_chunks()
