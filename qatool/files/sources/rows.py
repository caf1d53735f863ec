"""The row and the reader interface that all formats share, and messages about bad rows."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from qatool.errors import InputError
from qatool.wording import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import pyarrow as pa

    from qatool.files.sources.source import Source


ANSWER_KEYS = frozenset({"answer", "candidates", "fingerprint", "no_answer_score", "n_windows"})
"""Columns by which the answers of a run are recognised."""
OF_EARLIER_RUN = "is an answer of an earlier run, which has no context"
"""Why a row is bad that is one of another run's answers."""
IN_THE_WAY = "move the file, or name the inputs by a pattern that leaves it out"
"""What to do about a file among the inputs that does not belong there."""


class Row(NamedTuple):
    """One record of a file."""

    number: int
    """0-based number of the row in its file; bad rows count, blank lines do not."""
    line: int | None
    """1-based line the row starts on; ``None`` in formats without lines."""
    values: dict[str, Any] | None
    """The values that could be read, by column; ``None`` if none could."""
    error: str | None = None
    """Why the row is bad; ``None`` for a good row."""


class Reader(Protocol):
    """One file, readable any number of times from its start."""

    def columns(self) -> tuple[str, ...] | None:
        """Return the columns, ``None`` when each record has its own.

        :raises InputError: the file cannot be read
        """

    def arrow_type(self, column: str) -> pa.DataType | None:
        """Return the type that the file declares for the column, ``None`` when it declares none.

        :raises InputError: the file cannot be read
        """

    def rows(self, columns: Collection[str] | None = None) -> Iterator[Row]:
        """Yield the rows in file order.

        :param columns: the only columns needed, ``None`` for all; formats that cannot skip columns return more
        :raises InputError: the file cannot be read, or breaks off
        """


def where(source: Source, row: Row) -> str:
    """Return where a row is, for messages: ``corpus.jsonl:12``, ``corpus.parquet row 11`` or ``notes/a.md``."""
    name = shown_name(source)
    if row.line is not None:
        return f"{name}:{row.line}"
    return name if source.format == "text" else f"{name} row {row.number}"


def shown_name(source: Source) -> str:
    """Return the path of a file as it was given, for messages."""
    return printable(source.name if source.is_stdin else str(source.path))


def printable(name: str) -> str:
    """Return the name with unprintable characters escaped: it may come from an archive and end on a terminal."""
    return name if name.isprintable() else repr(name)[1:-1]


def bad_row(told: str) -> InputError:
    """Return the error for a row that cannot be used, with what to do about it.

    :param told: where the row is (see :func:`where`) and what is wrong: ``corpus.jsonl:12: question is null``
    """
    mend = "mend the row, or add --on-error skip to set such rows aside"
    return InputError(f"{told}; {IN_THE_WAY if told.endswith(OF_EARLIER_RUN) else mend}")


def too_many_bad(count: int, limit: int, *, see: str = "") -> InputError:
    """Return the error for a run with more bad rows than ``--max-errors`` allows.

    :param see: file that lists the bad rows
    """
    looked = f"see {see}, " if see else ""
    return InputError(
        f"{counted(count, 'row')} {'is' if count == 1 else 'are'} bad, more than --max-errors {limit}; {looked}mend "
        "them or raise --max-errors"
    )


class RejectReasons:
    """Counts the reasons for which rows were rejected; those that differ only in numbers and data count as one."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, reason: str) -> None:
        """Count a row."""
        kind = _reason_kind(reason)
        self._counts[kind] += 1
        self._first.setdefault(kind, reason)

    def most_common(self) -> dict[str, int]:
        """Return the number of rows by reason, which is told in full where only one row has it."""
        return {self._first[kind] if rows == 1 else kind: rows for kind, rows in self._counts.most_common()}


def _reason_kind(reason: str) -> str:
    """Return the reason without what is particular to one row: numbers, brackets, and what follows a colon."""
    return re.sub(r"(?<![\w-])\d+(?:,\d{3})*", "…", reason.partition(":")[0].partition(" (")[0])


def quoted(value: object, *, length: int = 40) -> str:
    """Return a one-line ASCII rendering of a value from the data, at most ``length`` characters, for messages."""
    text = ascii(value[: length + 1] if isinstance(value, (str, bytes)) else value)
    return text if len(text) <= length else f"{text[: length - 3]}..."
