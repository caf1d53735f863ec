"""Which windows each step reads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qatool.training.batches import POOL_STEPS, Grain, StepPlan, micro_batches
from qatool.training.data import _Steps


def plan(lengths, *, weights=None, batch_size=4, epochs=1.0, parts=1, seed=0) -> StepPlan:
    lengths = np.asarray(lengths, dtype=np.int64)
    given_weights = np.ones(len(lengths)) if weights is None else np.asarray(weights, dtype=float)
    return StepPlan(
        lengths=lengths, weights=given_weights, batch_size=batch_size, epochs=epochs, parts=parts, seed=seed
    )


@given(
    n=st.integers(1, 200),
    batch_size=st.integers(1, 9),
    epochs=st.integers(1, 3),
    parts=st.integers(1, 4),
    seed=st.integers(0, 5),
)
def test_every_window_once_an_epoch(n, batch_size, epochs, parts, seed) -> None:
    made = plan(range(1, n + 1), batch_size=batch_size, epochs=epochs, parts=parts, seed=seed)
    assert made.steps % parts == 0
    read = [made.rows(step) for step in range(made.steps)]
    if n * epochs >= made.steps + epochs:
        assert sorted(np.concatenate(read).tolist()) == sorted(list(range(n)) * epochs)
    assert set(np.concatenate(read).tolist()) == set(range(n))
    assert 1 <= min(map(len, read)) <= max(map(len, read)) <= batch_size + 1


def test_no_step_is_without_a_window() -> None:
    for seed in range(6):
        drawn = plan([3, 4], weights=[0.1, 0.1], parts=4, seed=seed)
        assert [len(drawn.rows(step)) for step in range(drawn.steps)] == [1] * 4


@pytest.mark.parametrize(("batch_size", "tokens"), [(5, 200), (33, 900), (32, 700), (3, 4096), (1, 50)])
def test_devices_meet_equally_often(batch_size, tokens) -> None:
    lengths = np.random.default_rng(3).integers(20, 200, 400)
    made = plan(lengths, batch_size=batch_size)
    for world in (2, 3):
        for step in range(made.steps):
            steps = [
                _Steps(_Windows(lengths), made, tokens, grain=Grain(), rank=rank, world=world)[step]
                for rank in range(world)
            ]
            assert len({len(one) for one in steps}) == 1
            read = [row for one in steps for rows, share in one if share for row in rows]
            assert sorted(read) == sorted(made.rows(step).tolist())
            assert sum(share for one in steps for _, share in one) == pytest.approx(world)
            for rows, _ in (part for one in steps for part in one):
                assert len(rows) == 1 or len(rows) * lengths[rows].max() <= tokens


class _Windows:
    """Gives what a batch would be made of."""

    def __init__(self, lengths) -> None:
        self.lengths = lengths

    def batch(self, rows, *, share, grain):
        assert grain == Grain()
        return rows, share


def test_half_an_epoch_reads_about_half() -> None:
    made = plan([5] * 1000, epochs=0.5)
    read = np.concatenate([made.rows(step) for step in range(made.steps)])
    assert len(set(read.tolist())) == len(read) == 500


def test_any_step_can_be_asked_first() -> None:
    """A run that continues asks for later steps only, and gets the same."""
    lengths = np.random.default_rng(1).integers(10, 300, 500)
    whole = plan(lengths, epochs=2, seed=3)
    expected = [whole.rows(step).tolist() for step in range(whole.steps)]
    for step in (whole.steps - 1, 0, whole.steps // 2, 17):
        assert plan(lengths, epochs=2, seed=3).rows(step).tolist() == expected[step]
    assert plan(lengths, epochs=2, seed=4).rows(0).tolist() != expected[0]
    per_epoch = whole.steps // 2
    assert expected[:per_epoch] != expected[per_epoch:]


def test_weights_are_how_often_a_window_is_read() -> None:
    weights = [2.0] * 100 + [0.5] * 1000 + [1.0] * 100
    made = plan([9] * 1200, weights=weights, batch_size=8)
    read = np.bincount(np.concatenate([made.rows(step) for step in range(made.steps)]), minlength=1200)
    assert (read[:100] == 2).all()
    assert (read[1100:] == 1).all()
    assert set(read[100:1100].tolist()) == {0, 1}
    assert read[100:1100].sum() == pytest.approx(500, abs=60)


def test_windows_of_a_step_are_of_like_length() -> None:
    lengths = np.random.default_rng(0).integers(20, 384, 32 * POOL_STEPS * 2)
    made = plan(lengths, batch_size=32)
    steps = [lengths[made.rows(step)] for step in range(made.steps)]
    padded = sum(step.max() * len(step) for step in steps)
    assert padded < 1.05 * lengths.sum()
    assert all((np.diff(step) <= 0).all() for step in steps)
    # The order of the steps themselves is no order of length.
    longest = [int(step.max()) for step in steps[:POOL_STEPS]]
    assert longest not in (sorted(longest), sorted(longest, reverse=True))


def test_micro_batches_hold_the_cap_with_their_padding() -> None:
    lengths = np.array([300, 200, 100, 100, 50])
    found = list(micro_batches(np.arange(5), lengths, 400))
    assert [part.tolist() for part in found] == [[0], [1, 2], [3, 4]]
    assert [part.tolist() for part in micro_batches(np.arange(5), lengths, 10)] == [[0], [1], [2], [3], [4]]
    assert [part.tolist() for part in micro_batches(np.arange(5), lengths, 10_000)] == [[0, 1, 2, 3, 4]]


@given(
    lengths=st.lists(st.integers(5, 90), min_size=1, max_size=70),
    batch_tokens=st.integers(1, 3_000),
)
def test_what_fills_batches_up_fits_too(lengths, batch_tokens) -> None:
    grain, longest_first = Grain(rows=8, tokens=16), np.sort(np.array(lengths))[::-1]
    limit = int(longest_first[0])
    parts = list(micro_batches(np.arange(len(lengths)), longest_first, batch_tokens, grain))
    assert np.concatenate(parts).tolist() == list(range(len(lengths)))
    for part in parts:
        width, height = grain.width(int(longest_first[part[0]]), limit), grain.height(len(part))
        assert longest_first[part[0]] <= width <= limit
        assert len(part) <= height
        assert height * width <= batch_tokens or len(part) == 1


def test_batches_are_of_few_shapes() -> None:
    grain = Grain(rows=8, tokens=16)
    lengths = np.random.default_rng(0).integers(20, 384, 32 * POOL_STEPS * 4)
    made = plan(lengths, batch_size=32)
    shapes = {
        (grain.height(len(part)), grain.width(int(lengths[part].max()), 384))
        for step in range(made.steps)
        for part in micro_batches(made.rows(step), lengths, 65_536, grain)
    }
    assert len(shapes) <= 24
