"""Kept values of any Arrow type: what Python's types cannot hold comes through, too."""

from __future__ import annotations

import json
import math
import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filehelpers import corpus_of

from qatool.extraction.answering.shards import ShardLimits, cut_shards
from qatool.files.values.jsonlines import _singles, encode_lines, python_values
from qatool.files.values.kept import conform, kept_array, unify

FAR, NAN = 2**62, math.nan
DATE = 86_400_000 * 4 * 10**6
WORDS = pa.array(["x", "y"])
EVENTS = pa.struct({"at": pa.timestamp("us")})

TIMES = [
    (pa.array([FAR, None], pa.timestamp("us")), "148108-07-06 14:00:27.387904"),
    (pa.array([FAR, None], pa.duration("s")), f"{FAR} seconds"),
    (pa.array([-(10**6), None], pa.date32()), "-768-02-04"),
    (pa.array([DATE, None], pa.date64()), "12921-08-18"),
    (pa.array([1, None], pa.timestamp("us", "Mars/Base")), "1970-01-01 00:00:00.000001+00:00"),
    (pa.array([1, None], pa.timestamp("ns", "UTC")), "1970-01-01 00:00:00.000000001+00:00"),
    (pa.array([[1], None], pa.list_(pa.timestamp("ns"))), ["1970-01-01 00:00:00.000000001"]),
    (pa.array([[{"at": FAR}], None], pa.list_(EVENTS)), [{"at": "148108-07-06 14:00:27.387904"}]),
    (pa.array([[("k", FAR)], None], pa.map_(pa.string(), pa.duration("s"))), [["k", f"{FAR} seconds"]]),
]
NUMBERS = [
    (pa.array([[0.1, NAN], None], pa.list_(pa.float32(), 2)), [0.1, None]),
    (pa.array([[0.1, NAN], None], pa.list_view(pa.float32())), [0.1, None]),
    (pa.array([[0.1, NAN], None], pa.large_list_view(pa.float32())), [0.1, None]),
    (pa.array([[("k", NAN), ("l", 0.1)], None], pa.map_(pa.string(), pa.float32())), [["k", None], ["l", 0.1]]),
    (pa.array([NAN, None], pa.float32()).dictionary_encode(), None),
    (pa.array([[0.1], None], pa.list_(pa.dictionary(pa.int8(), pa.float32()))), [0.1]),
    (pa.RunEndEncodedArray.from_arrays([1, 2], pa.array([0.1, None], pa.float32())), 0.1),
    (pa.array([b"\xff", None], pa.binary_view()), "ff"),
]


def test_a_time_zone_that_pytz_does_not_know():
    """Arrow asks it where it is installed, as beside pandas 2, and it has an error of its own."""

    class Column(list):
        type = pa.timestamp("us", "Mars/Base")

        def to_pylist(self):
            raise KeyError("Mars/Base")

    assert _singles(Column([pa.scalar(1, pa.int64())])) == [1]


@pytest.mark.parametrize(("column", "value"), [*TIMES, *NUMBERS], ids=lambda one: str(getattr(one, "type", "")))
def test_as_json_lines(column, value):
    for held in (column, pa.concat_arrays([column, column]).slice(2)):
        lines = encode_lines(pa.table({"x": held})).decode().splitlines()
        assert [json.loads(line)["x"] for line in lines] == [value, None]


@pytest.mark.parametrize(("column", "value"), TIMES, ids=lambda one: str(getattr(one, "type", "")))
def test_times_are_kept(tmp_path, column, value):
    pq.write_table(pa.table({"question": WORDS, "context": WORDS, "x": column}), tmp_path / "a.parquet")
    corpus = corpus_of(tmp_path / "a.parquet", keep=("x",))
    (shard,) = cut_shards(corpus.examples(), ShardLimits(rows=9, context_bytes=99))
    sent = pickle.loads(pickle.dumps(shard))
    assert sent.content_hash == shard.content_hash
    values = [example.kept["x"] for example in sent.examples]
    declared = corpus.kept_fields()["x"]
    assert kept_array(values, declared).equals(column.cast(declared))  # Parquet makes date32 of date64
    # Among others they are text, in one part as in two.
    parts = [pa.table({"x": array}) for array in (column, pa.array(["a"]))]
    apart = conform(parts[0], unify([part.schema for part in parts]))["x"].to_pylist()
    assert apart == kept_array([*values, "a"], None).to_pylist()[:2]
    assert apart == [json.dumps(value), None]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([3_600_000_000_000], pa.duration("ns")), "1:00:00"),
        (pa.array([1_000], pa.time64("ns")), "00:00:00.000001"),
        (pa.array([1_000], pa.timestamp("ns", "Europe/Paris")), "1970-01-01 01:00:00.000001+01:00"),
    ],
)
def test_times_of_nanoseconds_look_as_python_shows_them(column, expected) -> None:
    """Whether or not Arrow finds pandas."""
    (found,) = python_values(column)
    assert type(found).__module__ == "datetime"
    assert str(found) == expected
