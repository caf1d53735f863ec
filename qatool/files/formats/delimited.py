"""CSV and TSV with a header row."""

from __future__ import annotations

import csv
from collections import Counter
from typing import TYPE_CHECKING

import pyarrow as pa

from qatool.errors import InputError
from qatool.files.sources.rows import Row, quoted
from qatool.files.sources.streams import open_bytes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from typing import Any, BinaryIO

    from qatool.files.sources.source import Source

FIELD_CHARACTERS = 64 << 20
"""Longest field, in characters of up to 4 bytes in memory: far longer than any document, far shorter than what an
unclosed quote would collect from a huge file."""


class DelimitedReader:
    """Reads CSV (commas) and TSV (tabs), both with quotes. Null does not exist: an empty cell is ``""``."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._header: tuple[str, ...] | None = None

    def columns(self) -> tuple[str, ...]:
        """Return the names of the header row.

        :raises InputError: there is no header, or it is not UTF-8
        """
        if self._header is None:
            with open_bytes(self.source) as stream:
                self._header = self._read_header(self._records(_Lines(stream)))
        return self._header

    def arrow_type(self, column: str) -> pa.DataType | None:
        """Return the string type for each column of the file, as CSV has no other type, and ``None`` for other names.

        :raises InputError: the header cannot be read, or has the name twice
        """
        self._once([column], self.columns())
        return pa.string() if column in self.columns() else None

    def rows(self, columns: Collection[str] | None = None) -> Iterator[Row]:
        """Yield one row for each record; a record that is ragged, malformed or not UTF-8 becomes a bad row.

        :raises InputError: the header or the file cannot be read
        """
        with open_bytes(self.source) as stream:
            lines = _Lines(stream)
            records = self._records(lines)
            header = self._read_header(records)
            wanted = [(place, name) for place, name in enumerate(header) if columns is None or name in columns]
            self._once([name for _, name in wanted if name], header)
            number = 0
            while True:
                line = lines.number + 1
                lines.broken = False
                try:
                    record = next(records)
                except StopIteration:
                    return
                except csv.Error as error:
                    yield Row(number, line, None, f"invalid {self.source.format.upper()} ({_plain(error)})")
                    number += 1
                    continue
                # A blank line is no record.
                if record:
                    yield _row(number, line, record, header, wanted, broken=lines.broken)
                    number += 1

    def _records(self, lines: Iterator[str]) -> Iterator[list[str]]:
        csv.field_size_limit(FIELD_CHARACTERS)
        delimiter = "\t" if self.source.format == "tsv" else ","
        return csv.reader(lines, delimiter=delimiter, strict=True)

    def _read_header(self, records: Iterator[list[str]]) -> tuple[str, ...]:
        path = self.source.path
        try:
            header = next((record for record in records if record), None)
        except csv.Error as error:
            raise InputError(f"{path}:1: the header row cannot be read ({_plain(error)}); mend the file") from None
        if header is None:
            raise InputError(f"{path}: header row missing; the first line must name the columns")
        if _is_broken(header):
            raise InputError(f"{path}:1: the header row is not valid UTF-8; convert the file to UTF-8")
        return tuple(header)

    def _once(self, names: Collection[str], header: Sequence[str]) -> None:
        """Check that no column occurs more than once in the header.

        :raises InputError: one does
        """
        counts = Counter(header)
        for name in names:
            if counts[name] > 1:
                raise InputError(
                    f"{self.source.path}:1: the header names column {quoted(name)} twice; rename one of them"
                )


class _Lines:
    """Decoded lines of a stream, with their line ends; bytes that are not UTF-8 become surrogates.

    :ivar broken: set by any line that is not UTF-8; cleared by the caller
    :ivar number: how many lines were returned so far
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.number = 0
        self.broken = False

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        data = self._stream.readline()
        if not data:
            raise StopIteration
        self.number += 1
        if self.number == 1:
            data = data.removeprefix(b"\xef\xbb\xbf")
        try:
            return data.decode()
        except UnicodeDecodeError:
            self.broken = True
            return data.decode("utf-8", "surrogateescape")


def _row(
    number: int,
    line: int,
    record: list[str],
    header: tuple[str, ...],
    wanted: list[tuple[int, str]],
    *,
    broken: bool,
) -> Row:
    if len(record) != len(header):
        fields = f"{len(record)} field{'s' if len(record) > 1 else ''}"
        return Row(number, line, None, f"has {fields} where the header names {len(header)}")
    values: dict[str, Any] = {name: record[place] for place, name in wanted}
    if not broken:
        return Row(number, line, values)
    bad = [name for place, name in enumerate(header) if _is_broken([record[place]])]
    values.update((name, None) for name in bad if name in values)
    return Row(number, line, values, f"{quoted(bad[0])[1:-1]} is not valid UTF-8" if bad else None)


def _is_broken(cells: list[str]) -> bool:
    """Return whether a cell contains surrogates, which ``surrogateescape`` made of bytes that are not UTF-8."""
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        return True
    return False


def _plain(error: csv.Error) -> str:
    """Return the csv module's message without its advice to programmers."""
    return str(error).partition(" - ")[0]
