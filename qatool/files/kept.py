"""Types of kept columns: inferred part by part where the input declares none, and made one in the end."""

from __future__ import annotations

import json
from functools import reduce
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import types

from qatool.files.jsonlines import python_values

if TYPE_CHECKING:
    from collections.abc import Sequence


def kept_array(values: Sequence[Any], declared: pa.DataType | None) -> pa.Array:
    """Return the values of a kept column in one part as an array; never raises.

    :param declared: the type the input declares; ``None`` infers one. Values that no type holds together
        (text and numbers, truth values and numbers, integers above 64 bits, ``{}``) become text: JSON for
        what is not text already. Lone surrogates, which Arrow's text cannot hold, are written as escapes.
    """
    if declared is None and _mixes_bool(values):
        return _json_texts(values)
    try:
        array = pa.array(values, declared)
    except (pa.ArrowException, ValueError, TypeError, OverflowError, RecursionError):
        return _json_texts(values)
    return array if declared is not None or _is_storable(array.type) else _json_texts(values)


def unify(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """Return the schema that the tables of all parts can be brought to.

    A column that was null somewhere takes the type it has elsewhere, integers and floats become float64,
    lists and structs are unified inside; any other mixture becomes text. Metadata is the first schema's.

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
    """Return the table brought to a schema of :func:`unify`: columns that became text hold JSON.

    :param table: one of those unified, or one with the same columns
    """
    columns = [_cast(table.column(field.name), field.type) for field in schema]
    return pa.table(columns, schema=schema)


def _join(one: pa.DataType | None, other: pa.DataType | None) -> pa.DataType | None:
    """Return the type that holds both, ``None`` (which absorbs all) if only text does."""
    if one is None or other is None or one == other:
        return one if other is not None else None
    if types.is_null(one) or types.is_null(other):
        return other if types.is_null(one) else one
    if types.is_integer(one) and types.is_integer(other):
        return None if pa.uint64() in (one, other) else pa.int64()
    if _is_number(one) and _is_number(other):
        return pa.float64()
    if types.is_list(one) and types.is_list(other):
        inner = _join(one.value_type, other.value_type)
        return None if inner is None else pa.list_(inner)
    if types.is_struct(one) and types.is_struct(other):
        return _join_structs(one, other)
    return None


def _join_structs(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    kinds: dict[str, pa.DataType | None] = {field.name: field.type for field in one}
    for field in other:
        kinds[field.name] = _join(kinds.get(field.name, field.type), field.type)
    if any(kind is None for kind in kinds.values()):
        return None
    return pa.struct(list(kinds.items()))


def _is_number(kind: pa.DataType) -> bool:
    return bool(types.is_integer(kind) or types.is_floating(kind))


def _is_storable(kind: pa.DataType) -> bool:
    """Return whether Parquet can hold the type: it has no struct without fields."""
    if types.is_list(kind):
        return _is_storable(kind.value_type)
    if types.is_struct(kind):
        return kind.num_fields > 0 and all(_is_storable(field.type) for field in kind)
    return True


def _mixes_bool(values: Sequence[Any]) -> bool:
    """Return whether there are truth values and others: Arrow would make 1.0 of ``True`` among floats."""
    kinds = set(map(type, values)) - {type(None)}
    return bool in kinds and len(kinds) > 1


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | pa.Array:
    if column.type == kind:
        return column
    if types.is_null(column.type):
        return pa.nulls(len(column), kind)
    if _is_number(column.type) and _is_number(kind):
        return column.cast(kind, safe=False)
    if types.is_string(kind):
        if types.is_large_string(column.type) or types.is_string_view(column.type):
            return column.cast(kind)
        return _json_texts(python_values(column, strict=False))
    return pa.array(column.to_pylist(), kind)


def _json_texts(values: Sequence[Any]) -> pa.Array:
    return pa.array([_json_text(value) for value in values], pa.string())


def _json_text(value: Any) -> str | None:
    """Return text as it is and anything else as JSON; ``None`` for null and what is nested too deeply."""
    if value is None:
        return None
    if not isinstance(value, str):
        try:
            value = json.dumps(value, ensure_ascii=False, default=str)
        except (RecursionError, ValueError, TypeError):
            return None
    return str(value).encode("utf-8", "backslashreplace").decode()
