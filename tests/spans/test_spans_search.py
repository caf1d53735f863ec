"""The fast search finds what a double loop over all spans finds."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from spanhelpers import (
    assert_same_spans,
    context_of,
    found_spans,
    legal_spans,
    log_sum_exp,
    random_batch,
    random_logits,
    script_spans,
)

from qatool.spans.search import SpanSearch, SpanTable
from qatool.windows.assemble import WindowBatch

LENGTHS = [1, 2, 3, 7, 15, 30, 40]


def run_search(logits, batch, **options) -> SpanTable:
    start, end = (torch.from_numpy(values) for values in logits)
    return SpanSearch(**options)(start, end, batch)


def one_window(starts, ends) -> tuple[list[np.ndarray], WindowBatch]:
    """A window of only a null token with logit 0 and the given context tokens."""
    logits = [np.array([[0.0, *values]], dtype=np.float32) for values in (starts, ends)]
    n = np.array([len(starts)])
    return logits, WindowBatch(
        input_ids=np.zeros((1, len(starts) + 1), dtype=np.int32),
        token_type_ids=None,
        lengths=n + 1,
        context_first=np.array([1]),
        context_length=n,
        null_position=np.array([0]),
    )


@pytest.mark.parametrize("max_answer_length", LENGTHS)
@pytest.mark.parametrize("top_k", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("null_last", [False, True])
def test_best_spans_and_masses(top_k, max_answer_length, null_last) -> None:
    rng = np.random.default_rng([top_k, max_answer_length, null_last])
    batch = random_batch(rng, windows=24, null_last=null_last)
    start, end = random_logits(rng, batch)
    table = run_search((start, end), batch, top_k=top_k, max_answer_length=max_answer_length)
    for row in range(len(batch)):
        starts, ends = context_of(start, batch, row), context_of(end, batch, row)
        spans = legal_spans(starts, ends, max_answer_length)
        assert_same_spans(found_spans(table, row), spans[:top_k])
        null = int(batch.null_position[row])
        assert table.null_logit[row] == pytest.approx(start[row, null] + end[row, null], abs=1e-5)
        assert table.span_mass[row] == pytest.approx(log_sum_exp(span.logit for span in spans), abs=1e-4)
        assert table.start_mass[row] == pytest.approx(log_sum_exp([*starts, start[row, null]]), abs=1e-4)
        assert table.end_mass[row] == pytest.approx(log_sum_exp([*ends, end[row, null]]), abs=1e-4)


def test_fewer_legal_spans_than_asked_for() -> None:
    logits, batch = one_window([1.0, 2.0], [3.0, 5.0])
    table = run_search(logits, batch, top_k=5, max_answer_length=30)
    assert found_spans(table, 0) == [(7.0, 1, 2), (6.0, 0, 2), (4.0, 0, 1)]
    assert len(found_spans(run_search(logits, batch, top_k=5, max_answer_length=1), 0)) == 2


def test_ties_take_distinct_spans() -> None:
    logits, batch = one_window([0.0] * 9, [0.0] * 9)
    spans = found_spans(run_search(logits, batch, top_k=5, max_answer_length=3), 0)
    assert len(set(spans)) == 5
    assert all(1 <= end - start <= 3 for _, start, end in spans)


@pytest.mark.parametrize("scale", [100.0, 1e4])
@pytest.mark.parametrize("max_answer_length", [1, 3, 30])
def test_masses_of_extreme_logits(scale, max_answer_length) -> None:
    rng = np.random.default_rng(5)
    batch = random_batch(rng, windows=40)
    start, end = (np.sign(values) * np.float32(scale) for values in random_logits(rng, batch))
    table = run_search((start, end), batch, top_k=3, max_answer_length=max_answer_length)
    for row in range(len(batch)):
        spans = legal_spans(context_of(start, batch, row), context_of(end, batch, row), max_answer_length)
        assert [s.logit for s in found_spans(table, row)] == [s.logit for s in spans[:3]]
        assert table.span_mass[row] == pytest.approx(log_sum_exp(s.logit for s in spans), rel=2e-7, abs=1e-4)


def test_mass_where_the_best_start_follows_the_best_end() -> None:
    """The best start cannot meet the best end: the legal spans lie far below their sum."""
    logits, batch = one_window([0.0, 0.0, 200.0], [200.0, 0.0, 0.0])
    table = run_search(logits, batch, top_k=1, max_answer_length=30)
    assert table.span_mass[0] == pytest.approx(200 + math.log(2), abs=1e-4)


def test_minus_infinity_starts_and_ends_nothing() -> None:
    low = -np.inf
    logits, batch = one_window([low, 1.0, low, 0.0], [0.0, low, 2.0, 0.0])
    table = run_search(logits, batch, top_k=9, max_answer_length=4)
    assert {span[1:] for span in found_spans(table, 0)} == {(1, 3), (1, 4), (3, 4)}
    assert table.span_mass[0] == pytest.approx(log_sum_exp([3.0, 1.0, 0.0]), abs=1e-5)


def test_nothing_but_minus_infinity() -> None:
    logits, batch = one_window([-np.inf] * 3, [-np.inf] * 3)
    table = run_search(logits, batch, top_k=2, max_answer_length=4)
    assert found_spans(table, 0) == []
    assert table.span_mass[0] == -np.inf
    assert table.start_mass[0] == 0


@pytest.mark.parametrize("script", [False, True])
def test_a_window_of_nan_spoils_no_other(script) -> None:
    rng = np.random.default_rng(1)
    batch = random_batch(rng, windows=6)
    start, end = random_logits(rng, batch)
    options = {"top_k": 3, "max_answer_length": 9, "script": script}
    clean = run_search((start, end), batch, **options)
    start[2] = np.nan
    spoiled = run_search((start, end), batch, **options)
    assert np.isnan(spoiled.start_mass[2])
    others = np.arange(6) != 2
    for field in fields(SpanTable):
        np.testing.assert_array_equal(getattr(spoiled, field.name)[others], getattr(clean, field.name)[others])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_searched_in_single(dtype) -> None:
    rng = np.random.default_rng(2)
    batch = random_batch(rng, windows=9)
    start, end = (torch.from_numpy(values).to(dtype) for values in random_logits(rng, batch))
    search = SpanSearch(top_k=4, max_answer_length=8)
    half, single = search(start, end, batch), search(start.float(), end.float(), batch)
    for field in fields(SpanTable):
        values = getattr(half, field.name)
        assert values.dtype in {np.dtype(np.float32), np.dtype(np.int32)}
        np.testing.assert_array_equal(values, getattr(single, field.name))


def test_temperature_divides_all_logits() -> None:
    rng = np.random.default_rng(3)
    batch = random_batch(rng, windows=9)
    start, end = random_logits(rng, batch)
    warm = run_search((start, end), batch, top_k=3, max_answer_length=8, temperature=2.0)
    halved = run_search((start / 2, end / 2), batch, top_k=3, max_answer_length=8)
    for field in fields(SpanTable):
        np.testing.assert_array_equal(getattr(warm, field.name), getattr(halved, field.name))


@pytest.mark.parametrize("max_answer_length", LENGTHS)
@pytest.mark.parametrize("null_last", [False, True])
def test_script_mode_is_the_scripts_loop(max_answer_length, null_last) -> None:
    rng = np.random.default_rng([max_answer_length, null_last])
    batch = random_batch(rng, windows=24, null_last=null_last)
    start, end = random_logits(rng, batch)
    padding = np.arange(start.shape[1]) >= batch.lengths[:, None]
    start[padding] = end[padding] = 99
    table = run_search((start, end), batch, top_k=20, max_answer_length=max_answer_length, script=True)
    for row in range(len(batch)):
        length, context = int(batch.lengths[row]), int(batch.context_length[row])
        first = int(batch.context_first[row])
        spans = script_spans(start[row, :length], end[row, :length], first, context, max_answer_length)
        assert_same_spans(found_spans(table, row), spans[:20])


def test_tables_are_joined_in_order() -> None:
    rng = np.random.default_rng(4)
    batch = random_batch(rng, windows=5)
    whole = run_search(random_logits(rng, batch), batch, top_k=3, max_answer_length=5)
    order = np.array([4, 0, 3, 1])
    parts = [
        SpanTable(**{f.name: getattr(whole, f.name)[rows] for f in fields(SpanTable)}) for rows in ([4, 0, 3], [1])
    ]
    joined = SpanTable.joined([*parts, SpanTable.missing(1)], np.append(order, 2))
    assert len(joined) == 5
    for row in order.tolist():
        assert found_spans(joined, row) == found_spans(whole, row)
        assert joined.null_logit[row] == whole.null_logit[row]
    assert found_spans(joined, 2) == []
    assert np.isnan(joined.start_mass[2])
