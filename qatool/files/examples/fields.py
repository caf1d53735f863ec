"""Columns of a file as fields of qatool: renames, checks for needed columns, checks of values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pyarrow import types

from qatool.errors import InputError, UsageError
from qatool.files.formats.readers import columns_of
from qatool.files.sources.rows import ANSWER_KEYS, IN_THE_WAY, OF_EARLIER_RUN, quoted, shown_name
from qatool.schema import answers_schema

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import pyarrow as pa

    from qatool.files.sources.rows import Reader
    from qatool.files.sources.source import Source

NOTHING_KEPT: dict[str, Any] = {}
"""The kept values of every example if no columns are kept; one object that all share."""


_OTHER_DELIMITERS = ";\t|"
"""Characters that some programs write instead of commas into a file that they call CSV."""
_FIELDS = ("id", "question", "context", "document_id", "answers", "is_impossible")
"""All fields that qatool reads by name."""


@dataclass(frozen=True, kw_only=True)
class InputColumns:
    """The column of the files from which each field is read."""

    renames: Mapping[str, str]
    """Column names in the files, by field."""
    keep: tuple[str, ...] = ()
    """The fields that are carried into the output."""
    unseen: set[str]
    """Kept fields that no row has had so far, not even as null; shrinks as rows are read."""

    def of(self, field: str) -> str:
        """Return the name of a field's column in the files."""
        return self.renames.get(field, field)

    def named(self, fields: Collection[str]) -> frozenset[str]:
        """Return the names of the fields' columns in the files."""
        return frozenset(self.of(field) for field in fields)

    def kept(self, values: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the kept fields of a row, ``None`` where it lacks one."""
        if not self.keep:
            return NOTHING_KEPT
        values = values or {}
        if self.unseen:
            self.unseen.difference_update([name for name in self.unseen if self.of(name) in values])
        return {name: values.get(self.of(name)) for name in self.keep}


def parse_columns(
    column: Sequence[str], keep: Sequence[str], *, documents: bool, snippet: bool = False, others: bool = False
) -> InputColumns:
    """Return the columns that ``--column`` and ``--keep`` ask for.

    :param column: ``NEW=OLD`` each
    :param documents: whether the output has the columns of documents × questions
    :param snippet: whether the output has the column ``snippet``
    :param others: whether fields that are not read here may be renamed
    :raises UsageError: a field is renamed twice, nothing is read by its name, or a kept one would collide with a
        column of the output
    """
    renames: dict[str, str] = {}
    problems: list[str] = []
    for rename in column:
        new, _, old = rename.partition("=")
        if renames.setdefault(new, old) != old:
            problems.append(f"--column {rename}: {new!r} is already read from {renames[new]!r}; drop one")
    known = {*_FIELDS, *keep}
    problems += [
        f"--column {new}={old}: nothing is read as {new!r}; there are {', '.join(_FIELDS)}, and what --keep names"
        for new, old in renames.items()
        if new not in known and not others
    ]
    taken = set(answers_schema(documents=documents, snippet=snippet).names)
    problems += [
        f"--keep {field}: the output has its own column of that name; give it another one: "
        f"--column input_{field}={renames.get(field, field)} --keep input_{field}"
        for field in dict.fromkeys(keep)
        if field in taken
    ]
    if problems:
        raise UsageError(*problems)
    return InputColumns(renames=renames, keep=tuple(dict.fromkeys(keep)), unseen=set(keep))


def require(
    source: Source, reader: Reader, columns: InputColumns, fields: Collection[str], *, of_many: bool = False
) -> None:
    """Check that a file has the columns of some fields; a format where each record has its own passes.

    :param of_many: whether there are other inputs, so that this one may be there by mistake
    :raises InputError: columns are missing
    """
    there = columns_of(reader, columns.named(fields))
    missing = [] if there is None else [field for field in fields if columns.of(field) not in there]
    if "context" in missing and ANSWER_KEYS.issubset(there or ()):
        raise InputError(f"{shown_name(source)}: holds the answers of an earlier run; {IN_THE_WAY}")
    what = "field" if source.format == "json" else "column"
    problems = []
    for field in missing:
        name = columns.of(field)
        listed = ", ".join(quoted(column) for column in there or ()) or "none"
        remedy = f"name it with --column {field}=OLD"
        delimiters = [char for char in _OTHER_DELIMITERS if char in "".join(there or ())]
        if source.format == "csv" and len(there or ()) == 1 and delimiters:
            remedy = f"columns seem to be parted by {delimiters[0]!r}; save it with commas, or with tabs as .tsv"
        elif field in columns.renames:
            remedy = f"check --column {field}={name}"
        elif field in columns.keep:
            remedy = f"check --keep {field}"
        if of_many and field == "context":
            remedy += f", or {IN_THE_WAY}"
        problems.append(f"{source.path}: no {what} {quoted(name)}; there are {listed}; {remedy}")
    if problems:
        raise InputError(*problems)


def require_text(source: Source, reader: Reader, columns: InputColumns, fields: Collection[str]) -> None:
    """Check that the columns of some fields, where their type is declared, hold text (or nothing but nulls).

    :raises InputError: one is declared as something else
    """
    for field in fields:
        declared = reader.arrow_type(columns.of(field))
        if declared is not None and not _is_text(declared):
            raise InputError(
                f"{source.path}: column {quoted(columns.of(field))} is {declared}, not text; "
                f"name another with --column {field}=OLD"
            )


def _is_text(declared: pa.DataType) -> bool:
    return any(
        check(declared) for check in (types.is_string, types.is_large_string, types.is_string_view, types.is_null)
    )


def text_problem(name: str, values: Mapping[str, Any], column: str) -> str | None:
    """Return why the value of a column cannot serve as text, else ``None``.

    :param name: name of the field, for messages
    :param column: its column in the file
    """
    value = values.get(column)
    if type(value) is str:
        # Surrogates can come only from escapes in JSON, as strict decoding lets none in.
        return None if value.isascii() else surrogate_problem(name, value)
    if value is None and column in values:
        return f"{name} is null"
    if value is None:
        is_answer = name == "context" and values.keys() >= ANSWER_KEYS
        return OF_EARLIER_RUN if is_answer else f"no field {quoted(column)}"
    return f"{name} is {_kind_of(value)}, not text"


def _kind_of(value: object) -> str:
    """Return what a value is, in words."""
    kinds: dict[type | tuple[type, ...], str] = {
        bool: "a truth value",
        (int, float, Decimal): "a number",
        (bytes, bytearray): "binary data",
        (list, tuple): "a list",
        dict: "an object",
        (date, time): "a time",
    }
    return next((words for kind, words in kinds.items() if isinstance(value, kind)), "a value of another kind")


def surrogate_problem(name: str, text: str) -> str | None:
    """Return a message with the place of a lone surrogate (0-based, in code points), ``None`` for valid text."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"{name} holds a lone surrogate at character {error.start}, which is not valid Unicode text"
    return None


def text_or_none(value: Any) -> str | None:
    """Return the value if it is valid text, else ``None``; used for the fields of bad rows."""
    return value if type(value) is str and surrogate_problem("", value) is None else None


def id_problem(name: str, value: Any) -> str | None:
    """Return why a value cannot serve as an id (text, an integer or null can), else ``None``."""
    if type(value) is str:
        return None if value.isascii() else surrogate_problem(name, value)
    if value is None or type(value) is int:
        return None
    return f"{name} is {_kind_of(value)}, neither text nor an integer"


def id_column_of(columns: InputColumns, reader: Reader) -> str:
    """Return the column of a file's ids; ``--column id=OLD`` applies only to a file that may have the column OLD."""
    there = reader.columns()
    renamed = columns.of("id")
    return "id" if there is not None and renamed not in there else renamed


def id_of(values: Mapping[str, Any], column: str) -> Any:
    """Return the value of the id column or, if the row lacks that, of ``id``; ``None`` if it has neither."""
    return values[column] if column in values else values.get("id")


def id_or(value: Any, default: str) -> str:
    """Return an id as text: the value, or the default for null, for an empty text and for what cannot be an id."""
    if value is None or value == "" or id_problem("id", value) is not None:
        return default
    return str(value)
