"""``best_of_each``: the best candidates of each example, none twice."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qatool.spans.candidates import top_k_of_each

candidate = st.tuples(
    st.integers(0, 4), st.sampled_from([-2.0, 0.0, 0.5, 1.0, 7.0]), st.integers(0, 3), st.integers(4, 6)
)


@given(st.lists(candidate, max_size=40), st.integers(1, 5))
def test_best_of_each(made, top_k) -> None:
    columns = [np.array([one[i] for one in made], dtype=dtype) for i, dtype in enumerate((int, float, int, int))]
    example, rank_by, start, end = columns
    chosen, boundaries = top_k_of_each(example, rank_by, start, end, n_examples=6, top_k=top_k)
    assert boundaries.tolist()[0] == 0
    assert boundaries[-1] == len(chosen)
    for i in range(6):
        own = [(-rank_by[c], start[c], end[c], c) for c in range(len(made)) if example[c] == i]
        best: dict[tuple[int, int], tuple[float, int, int, int]] = {}
        for one in sorted(own):
            best.setdefault((one[1], one[2]), one)
        expected = [one[3] for one in sorted(best.values())[:top_k]]
        assert chosen[boundaries[i] : boundaries[i + 1]].tolist() == expected


def test_the_better_of_two_equal_spans_stays() -> None:
    chosen, boundaries = top_k_of_each(
        np.array([0, 0, 0]),
        np.array([1.0, 3.0, 2.0]),
        np.array([5, 5, 5]),
        np.array([9, 9, 8]),
        n_examples=1,
        top_k=5,
    )
    assert chosen.tolist() == [1, 2]
    assert boundaries.tolist() == [0, 2]


def test_examples_without_candidates() -> None:
    none = np.empty(0, dtype=np.int64)
    chosen, boundaries = top_k_of_each(none, none.astype(float), none, none, n_examples=3, top_k=2)
    assert chosen.tolist() == []
    assert boundaries.tolist() == [0, 0, 0, 0]
