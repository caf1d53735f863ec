"""Arrow tables as JSON Lines."""

from __future__ import annotations

import json
import math
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

if TYPE_CHECKING:
    from collections.abc import Callable

# JSON has no binary and no dates: hexadecimal digits and ISO text (``default``) stand for them.
_encode: Callable[[Any], str] = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=str).encode


def encode_lines(table: pa.Table) -> bytes:
    """Return a table as UTF-8 JSON Lines, one object for each row, with keys in column order and nulls included.

    Binary values are written as hexadecimal digits, floats with the fewest digits that preserve them in their own
    precision, NaN and infinities, which JSON lacks, as null.
    """
    columns = [python_values(column) for column in table.columns]
    names = table.column_names
    rows = zip(*columns, strict=True) if columns else ()
    return "".join(f"{_encode(dict(zip(names, row, strict=True)))}\n" for row in rows).encode()


def python_values(column: pa.Array | pa.ChunkedArray, *, strict: bool = True) -> list[Any]:
    """Return the values of a column as Python objects that JSON can express (``str`` expresses the rest).

    :param strict: whether NaN and infinities, which only Python's JSON knows, become ``None``
    """
    if isinstance(column, pa.ChunkedArray):
        return [value for chunk in column.chunks for value in python_values(chunk, strict=strict)]
    kind = column.type
    if types.is_float16(kind) or types.is_float32(kind):
        # Arrow prints a float32 with the fewest digits that identify it; the Python float of those prints the same.
        texts = column.cast(pa.float32()).cast(pa.string()).to_pylist()
        return [None if text is None else _number(float(text), strict=strict) for text in texts]
    if types.is_floating(kind):
        return [None if value is None else _number(value, strict=strict) for value in column.to_pylist()]
    if any(check(kind) for check in _BINARY):
        return [None if value is None else value.hex() for value in column.to_pylist()]
    if any(check(kind) for check in _LISTS):
        return _lists(column, strict=strict)
    if types.is_struct(kind):
        return _structs(column, strict=strict)
    if (plainer := _plainer(column)) is not None:
        return python_values(plainer, strict=strict)
    return _maps(column, strict=strict) if types.is_map(kind) else _singles(column)


_BINARY = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view)
_LISTS = (
    types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_list_view, types.is_large_list_view,
)  # fmt: skip


def _plainer(column: pa.Array) -> pa.Array | None:
    """Return the decoded column of a dictionary, run-end encoded or extension type; ``None`` for other types."""
    if types.is_dictionary(column.type):
        return column.dictionary_decode()
    if types.is_run_end_encoded(column.type):
        return pc.run_end_decode(column)
    return column.storage if isinstance(column.type, pa.BaseExtensionType) else None


def _number(value: float, *, strict: bool) -> float | None:
    return None if strict and not math.isfinite(value) else value


def _singles(column: pa.Array) -> list[Any]:
    if getattr(column.type, "unit", None) == "ns":
        # to_pylist returns pandas types if pandas is installed.
        return [_single(cell) for cell in column]
    try:
        return list(column.to_pylist())
    except UNFIT:
        return [_single(cell) for cell in column]


UNFIT = (OverflowError, ValueError, KeyError, pa.ArrowException)
"""What Arrow raises for values that Python's types cannot hold: out of range, too fine, or in an unknown time zone
(a ``KeyError`` if pytz is installed, as it is with pandas 2)."""


def _single(cell: pa.Scalar) -> Any:
    """Return a scalar as a Python value; times that Python's types cannot hold as text of the same form, in UTC."""
    try:
        if getattr(cell.type, "unit", None) == "ns" and cell.is_valid:
            cell = _in_microseconds(cell)
        return cell.as_py()
    except UNFIT:
        kind = cell.type
        if types.is_duration(kind):
            return str(np.timedelta64(cell.value, kind.unit))
        if types.is_time(kind):
            return str(np.datetime64(cell.value, kind.unit)).partition("T")[2]
        if not types.is_temporal(kind):
            raise
        if types.is_date(kind):
            return str(np.datetime64(cell.value, "D" if types.is_date32(kind) else "ms")).partition("T")[0]
        text = str(np.datetime64(cell.value, kind.unit)).replace("T", " ")
        return text if kind.tz is None else f"{text}+00:00"


def _in_microseconds(cell: pa.Scalar) -> pa.Scalar:
    """Return a scalar time in nanoseconds converted to microseconds.

    :raises ArrowInvalid: the conversion would lose digits
    """
    kind = cell.type
    if types.is_timestamp(kind):
        return cell.cast(pa.timestamp("us", kind.tz))
    return cell.cast(pa.duration("us") if types.is_duration(kind) else pa.time64("us"))


def _maps(column: pa.Array, *, strict: bool) -> list[Any]:
    entry = pa.struct([column.type.key_field, column.type.item_field])
    entries = python_values(column.cast(pa.list_(entry)), strict=strict)
    return [None if pairs is None else [tuple(pair.values()) for pair in pairs] for pairs in entries]


def _lists(column: pa.Array, *, strict: bool) -> list[Any]:
    lengths = pc.list_value_length(column).to_pylist()
    values = python_values(column.flatten(), strict=strict)
    spans = pairwise(accumulate((length or 0 for length in lengths), initial=0))
    return [
        None if length is None else values[start:end] for length, (start, end) in zip(lengths, spans, strict=True)
    ]


def _structs(column: pa.Array, *, strict: bool) -> list[Any]:
    names = [field.name for field in column.type]
    valid = column.is_valid().to_pylist()
    if not names:
        return [{} if ok else None for ok in valid]
    fields = zip(*(python_values(field, strict=strict) for field in column.flatten()), strict=True)
    return [dict(zip(names, cells, strict=True)) if ok else None for ok, cells in zip(valid, fields, strict=True)]
