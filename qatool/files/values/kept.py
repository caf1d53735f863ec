"""Types of kept columns: inferred for each part where the input declares none, and unified at the end."""

from __future__ import annotations

import json
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyarrow import types

from qatool.files.values.arrowvalue import ArrowValue
from qatool.files.values.jsonlines import python_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike


MAX_KEYS = 200
"""Most keys of objects kept as a struct; with more, they are maps rather than records, and are kept as text."""
MAX_DEPTH = 30
"""Deepest nesting of lists and objects kept as such; Parquet accepts about 50 levels of lists."""


def kept_array(values: Sequence[Any], declared: pa.DataType | None) -> pa.Array:
    """Return the values of a kept column in one part as an array; never raise.

    Values that have no type in common (text and numbers, truth values and numbers, days and times, integers above 64
    bits, ``{}``, objects of very many keys) become text: what is not text already is written as JSON. Integers among
    floats become floats, inside lists and objects, too. Lone surrogates, which Arrow's strings cannot hold, are
    written as escapes.

    :param declared: the type that the input declares; ``None`` to infer one
    """
    held = values
    if ArrowValue in set(map(type, values)):
        held = [value.scalar if isinstance(value, ArrowValue) else value for value in values]
    try:
        if declared is None and _has_no_type(values):
            return _json_texts(values)
        array = _inferred(held) if declared is None else pa.array(held, declared)
    except (pa.ArrowException, ValueError, TypeError, OverflowError, RecursionError):
        return _json_texts(values)
    return array if declared is not None or _is_storable(array.type) else _json_texts(values)


def unify(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """Return a schema to which the tables of all parts can be converted by :func:`conform`.

    A column that is null in some parts has the type of the others, integers and floats become float64, lists and
    structs are unified inside; any other mixture becomes text. The metadata are those of the first schema.

    :param schemas: at least one; all with the same columns
    """
    first = schemas[0]
    fields = []
    for field in first:
        kinds = dict.fromkeys(schema.field(field.name).type for schema in schemas)
        joined: pa.DataType | None = reduce(_join, kinds)
        fields.append(pa.field(field.name, joined if joined is not None else pa.string()))
    return pa.schema(fields, metadata=first.metadata)


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the table converted to a schema from :func:`unify`; columns that became text hold JSON.

    :param table: a table whose schema was among those unified, or one with the same columns
    """
    columns = [
        pa.chunked_array([_cast(chunk, field.type) for chunk in table.column(field.name).chunks], field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _join(one: pa.DataType | None, other: pa.DataType | None) -> pa.DataType | None:
    """Return the type that can hold values of both types, ``None`` if only text can; ``None`` as input stays so."""
    if one is None or other is None or one == other:
        return one if other is not None else None
    if types.is_null(one) or types.is_null(other):
        return other if types.is_null(one) else one
    if types.is_integer(one) and types.is_integer(other):
        return None if pa.uint64() in (one, other) else pa.int64()
    if _is_number(one) and _is_number(other):
        return pa.float64()
    if types.is_decimal(one) and types.is_decimal(other):
        return _join_decimals(one, other)
    if types.is_timestamp(one) and types.is_timestamp(other) and one.unit == other.unit and one.tz and other.tz:
        return pa.timestamp(one.unit, "UTC")
    if types.is_list(one) and types.is_list(other):
        inner = _join(one.value_type, other.value_type)
        return None if inner is None else pa.list_(inner)
    if types.is_struct(one) and types.is_struct(other):
        return _join_structs(one, other)
    return None


def _join_decimals(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    scale = max(one.scale, other.scale)
    precision = max(one.precision - one.scale, other.precision - other.scale) + scale
    if precision <= 38:
        return pa.decimal128(precision, scale)
    return pa.decimal256(precision, scale) if precision <= 76 else None


def _join_structs(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    kinds: dict[str, pa.DataType | None] = {field.name: field.type for field in one}
    for field in other:
        kinds[field.name] = _join(kinds.get(field.name, field.type), field.type)
    if len(kinds) > MAX_KEYS or any(kind is None for kind in kinds.values()):
        return None
    return pa.struct(list(kinds.items()))


def _inferred(values: Sequence[Any]) -> pa.Array:
    """Return values as an array of the type that Arrow infers; integers among floats may be rounded to floats.

    :raises ArrowException: the values have no type in common
    """
    try:
        return pa.array(values)
    except pa.ArrowInvalid:
        kinds = _kinds(values)
        missing = pa.array([value is None for value in values])
        if kinds == {int, float}:
            return pa.array([None if value is None else float(value) for value in values])
        if kinds == {list}:
            inner = _inferred([one for value in values for one in value or ()])
            return _list_array([len(value or ()) for value in values], inner, missing)
        if kinds == {dict}:
            names = list(dict.fromkeys(name for value in values for name in value or ()))
            fields = [_inferred([None if value is None else value.get(name) for value in values]) for name in names]
            return pa.StructArray.from_arrays(fields, names=names, mask=missing)
        raise


def _kinds(values: Sequence[Any]) -> set[type]:
    """Return the Python types of the values that are not null; any subclass of ``dict`` counts as ``dict``."""
    return {dict if issubclass(kind, dict) else kind for kind in set(map(type, values))} - {type(None)}


def _list_array(lengths: ArrayLike, values: pa.Array, missing: pa.Array) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values, mask=missing)


def _is_number(kind: pa.DataType) -> bool:
    return bool(types.is_integer(kind) or types.is_floating(kind))


def _is_storable(kind: pa.DataType, depth: int = 0) -> bool:
    """Return whether Parquet can hold the type: no struct in it lacks fields, and its nesting is not too deep."""
    if depth > MAX_DEPTH:
        return False
    if types.is_list(kind):
        return _is_storable(kind.value_type, depth + 1)
    if types.is_struct(kind):
        return kind.num_fields > 0 and all(_is_storable(field.type, depth + 1) for field in kind)
    return True


def _has_no_type(values: Sequence[Any]) -> bool:
    """Return whether values, or those inside lists and objects, mix kinds or are objects of too many keys.

    This is checked here because Arrow would convert silently (``True`` among floats to 1.0, a time among days to a
    day), and would make a field of every key.

    :raises RecursionError: values are nested too deeply
    """
    kinds = _kinds(values) - {ArrowValue}
    if len(kinds) > 1 and kinds != {int, float}:
        return True
    if list in kinds and _has_no_type([one for value in values if isinstance(value, list) for one in value]):
        return True
    if dict not in kinds:
        return False
    by_key: dict[str, list[Any]] = {}
    for value in values:
        if isinstance(value, dict):
            for key, one in value.items():
                by_key.setdefault(key, []).append(one)
    return len(by_key) > MAX_KEYS or any(map(_has_no_type, by_key.values()))


def _cast(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return an array converted to a type that :func:`_join` derived from its own; never raise."""
    if array.type == kind:
        return array
    if types.is_null(array.type):
        return pa.nulls(len(array), kind)
    if types.is_string(kind):
        if types.is_large_string(array.type) or types.is_string_view(array.type):
            return array.cast(kind)
        return pa.array(list(map(_json, python_values(array, strict=False))), kind)
    if types.is_list(kind):
        lengths = array.value_lengths().fill_null(0).to_numpy()
        return _list_array(lengths, _cast(array.flatten(), kind.value_type), array.is_null())
    if types.is_struct(kind):
        own = {field.name: values for field, values in zip(array.type, array.flatten(), strict=True)}
        absent = pa.nulls(len(array))
        fields = [_cast(own.get(field.name, absent), field.type) for field in kind]
        return pa.StructArray.from_arrays(fields, fields=list(kind), mask=array.is_null())
    return array.cast(kind, safe=False)  # numbers


def _json_texts(values: Sequence[Any]) -> pa.Array:
    return pa.array([_json_text(value) for value in values], pa.string())


def _plain(value: Any) -> Any:
    if isinstance(value, ArrowValue):
        return value.plain()
    return value.hex() if isinstance(value, bytes) else str(value)


def _json_text(value: Any) -> str | None:
    """Return text unchanged and anything else as JSON; ``None`` for null and for values nested too deeply."""
    return _valid(value) if isinstance(value, str) else _json(value)


def _json(value: Any) -> str | None:
    if value is None:
        return None
    try:
        return _valid(json.dumps(value, ensure_ascii=False, default=_plain))
    except (RecursionError, ValueError, TypeError):
        return None


def _valid(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
