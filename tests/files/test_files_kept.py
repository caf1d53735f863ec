from __future__ import annotations

import io
import json
import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qatool.files.values.kept import conform, kept_array, unify

BIG, ROUNDED = 2**53 + 1, float(2**53)
"""An integer that no float64 holds, and what becomes of it among floats."""


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([1, None], pa.int64(), [1, None]),
        ([1, 2.5], pa.float64(), [1.0, 2.5]),
        ([None], pa.null(), [None]),
        (["a", 1, None, True], pa.string(), ["a", "1", None, "true"]),
        ([1.5, True], pa.string(), ["1.5", "true"]),
        ([[True], [1.5]], pa.string(), ["[true]", "[1.5]"]),
        (
            [{"a": [{"b": True}]}, None, {"a": [{"b": 1.5}]}],
            pa.string(),
            ['{"a": [{"b": true}]}', None, '{"a": [{"b": 1.5}]}'],
        ),
        ([{"a": True, "b": [1.5]}, {"a": False}], None, [{"a": True, "b": [1.5]}, {"a": False, "b": None}]),
        (
            [date(2024, 1, 1), datetime(2024, 5, 6, 13, 45, tzinfo=UTC)],
            pa.string(),
            ['"2024-01-01"', '"2024-05-06 13:45:00+00:00"'],
        ),
        ([timedelta(seconds=1), 5], pa.string(), ['"0:00:01"', "5"]),
        (["a", b"b"], pa.string(), ["a", '"62"']),
        ([json.loads("[" * 200 + "]" * 200)], pa.string(), ["[" * 200 + "]" * 200]),
        ([2**70, 1], pa.string(), ["1180591620717411303424", "1"]),
        ([{}], pa.string(), ["{}"]),
        ([{"é": [1]}, "x"], pa.string(), ['{"é": [1]}', "x"]),
        (["a\ud800"], pa.string(), ["a\\ud800"]),
        ([{"text": [], "answer_start": []}], None, [{"text": [], "answer_start": []}]),
        ([BIG, None, 0.5], pa.float64(), [ROUNDED, None, 0.5]),
        ([[BIG], None, [0.5], []], pa.list_(pa.float64()), [[ROUNDED], None, [0.5], []]),
        (
            [{"a": [BIG, 0.5]}, None, {"b": BIG}],
            None,
            [{"a": [ROUNDED, 0.5], "b": None}, None, {"a": None, "b": BIG}],
        ),
        ([{"a": BIG}, {}, {"a": 0.5}], None, [{"a": ROUNDED}, {"a": None}, {"a": 0.5}]),
        ([{"a": [BIG]}, {"a": [0.5, "x"]}], pa.string(), [f'{{"a": [{BIG}]}}', '{"a": [0.5, "x"]}']),
    ],
)
def test_inferred(values, kind, expected):
    array = kept_array(values, None)
    assert array.to_pylist() == expected
    assert kind is None or array.type == kind


def test_declared():
    assert kept_array([1, None], pa.int8()).type == pa.int8()
    assert kept_array(["x", 1], pa.int8()).to_pylist() == ["x", "1"]


TEXT, INT, FLOAT, NULL, BOOL = pa.string(), pa.int64(), pa.float64(), pa.null(), pa.bool_()


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ([INT, INT], INT),
        ([NULL, INT, NULL], INT),
        ([INT, FLOAT], FLOAT),
        ([pa.int8(), pa.int32()], INT),
        ([INT, TEXT, INT], TEXT),
        ([BOOL, INT], TEXT),
        ([pa.list_(NULL), pa.list_(TEXT)], pa.list_(TEXT)),
        ([pa.list_(INT), pa.list_(TEXT)], TEXT),
        ([pa.struct({"a": NULL}), pa.struct({"b": INT, "a": INT})], pa.struct({"a": INT, "b": INT})),
        ([pa.struct({"a": TEXT}), pa.struct({"a": INT})], TEXT),
        ([pa.date32(), pa.timestamp("us")], TEXT),
        ([pa.timestamp("us"), pa.date32()], TEXT),
        ([pa.decimal128(10, 2), pa.decimal128(12, 4)], pa.decimal128(12, 4)),
        ([pa.decimal128(38, 0), pa.decimal128(38, 9)], pa.decimal256(47, 9)),
        ([pa.timestamp("us", "Asia/Tokyo"), pa.timestamp("us", "Europe/Paris")], pa.timestamp("us", "UTC")),
        (
            [pa.struct({f"a{key}": INT for key in range(150)}), pa.struct({f"b{key}": INT for key in range(150)})],
            TEXT,
        ),
    ],
)
def test_unified(kinds, expected):
    schemas = [pa.schema([pa.field("id", TEXT), pa.field("x", kind)]) for kind in kinds]
    assert unify(schemas) == pa.schema([pa.field("id", TEXT), pa.field("x", expected)])


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_where_parts_end_changes_no_text(number):
    for values in (["a", number], [[number], {"b": number}]):
        parts = [pa.table({"x": kept_array([value], None)}) for value in values]
        schema = unify([part.schema for part in parts])
        apart = [conform(part, schema)["x"][0].as_py() for part in parts]
        assert apart == kept_array(values, None).to_pylist()


@pytest.mark.parametrize(
    "values",
    [
        [date(2024, 1, 1), datetime(2024, 5, 6, 13, 45, tzinfo=UTC)],
        [timedelta(seconds=1), 5],
        ["a", b"b"],
        [Decimal("12345678.25"), Decimal("1234567890.5")],
        [{f"key{number}": number} for number in range(300)],
        [datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=2)))],
    ],
)
def test_nor_what_they_hold(values):
    parts = [pa.table({"x": kept_array([value], None)}) for value in values]
    schema = unify([part.schema for part in parts])
    apart = [conform(part, schema)["x"][0].as_py() for part in parts]
    together = kept_array(values, None).to_pylist()
    if isinstance(values[0], dict):
        # An object by itself is a record; a mass of them, all unlike, is not.
        assert [json.loads(text) for text in together] == values
        assert {json.dumps(one) for one in values} <= {
            json.dumps({key: value for key, value in json.loads(text).items() if value is not None}) for text in apart
        }
    else:
        assert apart == together


def test_conformed_values():
    parts = [pa.table({"x": [1, None]}), pa.table({"x": ["a", "b"]}), pa.table({"x": [[1.5], None]})]
    schema = unify([part.schema for part in parts])
    assert [conform(part, schema)["x"].to_pylist() for part in parts] == [["1", None], ["a", "b"], ["[1.5]", None]]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([[[BIG], None], [[0.5], []]], [[ROUNDED], None, [0.5], []]),
        ([[{"a": BIG}, None], [{"a": 0.5, "b": BIG}]], [{"a": ROUNDED, "b": None}, None, {"a": 0.5, "b": BIG}]),
        ([[[{"a": [BIG]}]], [[{"a": [0.5]}], None, [None]]], [[{"a": [ROUNDED]}], [{"a": [0.5]}], None, [None]]),
        ([[[[]], [[None]]], [[[BIG]]], [[[0.5]]]], [[[]], [[None]], [[ROUNDED]], [[0.5]]]),
    ],
)
def test_numbers_mix_inside_of_lists_and_objects(parts, expected):
    """Wherever parts end."""
    for several in (parts, [[value for part in parts for value in part]]):
        tables = [pa.table({"x": kept_array(values, None)}) for values in several]
        schema = unify([table.schema for table in tables])
        found = pa.concat_tables([conform(table, schema) for table in tables])
        found.validate(full=True)
        assert found["x"].to_pylist() == expected


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(2**53, 2**64)
    | st.floats(allow_nan=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@example(parts=[[[]], [math.inf]])
@given(parts=st.lists(st.lists(JSON, min_size=1, max_size=4), min_size=1, max_size=3))
def test_any_json_can_be_kept(parts):
    """Never an error, one type in the end, and Parquet takes it."""
    tables = [pa.table({"x": kept_array(values, None)}) for values in parts]
    schema = unify([table.schema for table in tables])
    whole = pa.concat_tables([conform(table, schema) for table in tables])
    stored = io.BytesIO()
    pq.write_table(whole, stored)
    values = [value for part in parts for value in part]
    assert pq.read_table(stored).num_rows == len(values)
    for kept, value in zip(whole["x"].to_pylist(), values, strict=True):
        assert (kept is None) == (value is None)
        if isinstance(kept, str) and not isinstance(value, str):
            json.loads(kept)
