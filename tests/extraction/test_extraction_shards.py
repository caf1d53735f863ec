"""Where shards end, and what their content hash depends on."""

from __future__ import annotations

import pickle
from types import MappingProxyType, SimpleNamespace

import pytest
from extractionhelpers import example
from hypothesis import given
from hypothesis import strategies as st

from qatool.extraction.answering.resolved import Numerics
from qatool.extraction.answering.setup import _numerics
from qatool.extraction.answering.shards import ShardLimits, cut_shards
from qatool.options import ExtractOptions
from qatool.schema import Example, fingerprint


@given(sizes=st.lists(st.integers(0, 30), max_size=40), rows=st.integers(1, 6), limit=st.integers(1, 40))
def test_shards_are_as_large_as_they_may_be(sizes, rows, limit) -> None:
    examples = [example("q", "\u00e9" * (size // 2) + "x" * (size % 2), row) for row, size in enumerate(sizes)]
    shards = list(cut_shards(examples, ShardLimits(rows=rows, context_bytes=limit)))
    assert [one for shard in shards for one in shard.examples] == examples
    assert [shard.index for shard in shards] == list(range(len(shards)))
    at = 0
    for shard in shards:
        held = sizes[at : at + len(shard.examples)]
        assert shard.first_row == at
        assert 1 <= len(held) <= rows
        assert sum(held) <= limit or len(held) == 1
        at += len(held)
        if at < len(sizes):
            assert len(held) == rows or sum(held) + sizes[at] > limit
        assert list(shard.fingerprints) == [fingerprint("q", one.context or "") for one in shard.examples]


def test_shards_grow_where_the_first_ones_are_to_be_small() -> None:
    limits = ShardLimits(rows=30, context_bytes=10_000, first_rows=8)
    shards = list(cut_shards([example("q", "x", row) for row in range(200)], limits))
    assert [len(shard.examples) for shard in shards] == [8] * 4 + [16] * 4 + [30] * 3 + [14]
    assert [shard.first_row for shard in shards][:6] == [0, 8, 16, 24, 32, 48]
    assert limits.rows_of(10**9) == 30
    assert ShardLimits(rows=5, context_bytes=9, first_rows=8).rows_of(0) == 5


@pytest.mark.parametrize(
    ("device", "asked", "planned", "expected"),
    [
        ("cuda:0", None, {}, (8_192, 1_024)),
        ("cuda:0", 50, {}, (50, None)),
        ("cuda:0", None, {"shard_rows": 8_192, "first_shard_rows": 1_024}, (8_192, 1_024)),
        ("cuda:0", None, {"shard_rows": 8_192}, (8_192, None)),  # planned before shards grew
        ("cuda:0", 50, {"shard_rows": 8_192, "first_shard_rows": 1_024}, (50, None)),
        ("cpu", None, {}, (512, None)),
        ("cpu", None, {"shard_rows": 8_192, "first_shard_rows": 1_024}, (8_192, 1_024)),  # begun on a card
    ],
)
def test_shards_are_as_planned_and_grow_on_a_card(device, asked, planned, expected) -> None:
    backend = SimpleNamespace(name="torch", device=device, precision="bf16", batch_tokens=1_024)
    others = {"shard_bytes": 1, "batch_tokens": 2_048, "backend": "torch", "device_kind": "cuda", "precision": "fp32"}
    numerics = _numerics(
        ExtractOptions(inputs=("x",), output="y", shard_rows=asked),
        backend,
        Numerics(**planned, **others) if planned else None,
    )
    assert (numerics.shard_rows, numerics.first_shard_rows) == expected
    assert numerics.batch_tokens == (2_048 if planned else 1_024)
    assert (numerics.precision, numerics.device_kind) == ("bf16", device.partition(":")[0])


def test_a_huge_example_stands_alone() -> None:
    examples = [example("q", "x" * size, row) for row, size in enumerate([3, 3, 500, 3, 3])]
    shards = cut_shards(examples, ShardLimits(rows=9, context_bytes=10))
    assert [len(shard.examples) for shard in shards] == [2, 1, 2]


def test_a_context_shared_by_neighbours_may_count_once() -> None:
    examples = [example(f"q{row}", text, row) for row, text in enumerate(["x" * 8] * 4 + ["y" * 8] * 2)]
    each = cut_shards(examples, ShardLimits(rows=9, context_bytes=10))
    assert [len(shard.examples) for shard in each] == [1] * 6
    once = cut_shards(examples, ShardLimits(rows=9, context_bytes=10, each_row_counts=False))
    assert [len(shard.examples) for shard in once] == [4, 2]
    few = cut_shards(examples, ShardLimits(rows=3, context_bytes=10, each_row_counts=False))
    assert [len(shard.examples) for shard in few] == [3, 1, 2]


def test_what_is_kept_counts_too() -> None:
    kept = [{"text": "x" * 6}, {"text": b"x" * 6}, {"text": None}, {"number": 1}]
    examples = [example("q", "c", row, kept=one) for row, one in enumerate(kept)]
    for each in (True, False):
        shards = cut_shards(examples, ShardLimits(rows=9, context_bytes=10, each_row_counts=each))
        assert [len(shard.examples) for shard in shards] == [1, 3]


def test_no_examples_no_shards() -> None:
    assert list(cut_shards([], ShardLimits(rows=1, context_bytes=1))) == []


def test_examples_are_not_read_ahead_of_their_shard() -> None:
    read = []

    def stream():
        for row in range(9):
            read.append(row)
            yield example("q", "c", row)

    next(cut_shards(stream(), ShardLimits(rows=2, context_bytes=99)))
    assert read == [0, 1, 2]


def hash_of(*examples, columns="") -> str:
    (shard,) = cut_shards(examples, ShardLimits(rows=9, context_bytes=999), columns_signature=columns)
    return shard.content_hash


BASE = example("who", "a context", 0, document_id="d", question_id="q", kept={"tag": 1})


@pytest.mark.parametrize(
    "change",
    [
        {"id": "1"},
        {"id": None},
        {"question": "what"},
        {"question": "whoa", "context": " context"},
        {"context": "a context "},
        {"document_id": "e"},
        {"question_id": None},
        {"kept": {"tag": 2}},
        {"kept": {"tag": "1"}},
        {"kept": {"gat": 1}},
        {"error": "too long"},
    ],
    ids=repr,
)
def test_content_hash_changes_with(change) -> None:
    assert hash_of(BASE._replace(**change)) != hash_of(BASE)


def test_content_hash_changes_with_columns_order_and_number() -> None:
    other = BASE._replace(id="1", question="what")
    hashes = [
        hash_of(BASE),
        hash_of(BASE, columns="x"),
        hash_of(BASE, other),
        hash_of(other, BASE),
        hash_of(BASE, BASE),
    ]
    assert len(set(hashes)) == len(hashes)


def test_content_hash_of_rejected_rows() -> None:
    bad = BASE._replace(question=None, error="question is missing")
    first, second = (
        next(shard for shard in cut_shards(rows, ShardLimits(rows=2, context_bytes=999)) if shard.examples[0] is bad)
        for rows in ([bad], [BASE, BASE, bad])
    )
    assert first.content_hash != second.content_hash, "the list of rejected rows names its row"
    assert hash_of(bad) == hash_of(bad._replace(kept={"tag": 1}))
    assert len({hash_of(bad), hash_of(bad._replace(error="other")), hash_of(bad._replace(question="\ud800"))}) == 3


def test_content_hash_is_that_of_the_content_only() -> None:
    assert hash_of(BASE._replace(where="elsewhere:9")) == hash_of(BASE)
    alone = cut_shards([example("q", "c"), BASE], ShardLimits(rows=1, context_bytes=9))
    assert [shard.content_hash for shard in alone][1] == hash_of(BASE)


def test_a_shard_travels_whole() -> None:
    """Kept values and all; an unkept column stays the shared nothing it was."""
    rows = [
        Example("a", "who", "Ann.", "in:1"),
        Example("b", "who", "Ann.", "in:2", document_id="d", question_id="q", kept=MappingProxyType({"n": 1})),
        Example(None, None, "Ann.", "in:3", error="question is null"),
    ]
    for chosen in (rows, rows[:1]):
        (shard,) = cut_shards(chosen, ShardLimits(rows=9, context_bytes=99), columns_signature="n")
        there = pickle.loads(pickle.dumps(shard))
        assert there == shard
        assert there.content_hash == shard.content_hash
        assert all(isinstance(example, Example) for example in there.examples)
