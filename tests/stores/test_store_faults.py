"""A server of which a share of the requests fails, in the ways they do."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("seed", "share"),
    [
        pytest.param(1, 0.05, marks=pytest.mark.cluster),
        *(pytest.param(seed, 0.15, marks=pytest.mark.slow) for seed in range(2, 8)),
    ],
)
def test_requests_that_fail_or_wait_change_nothing(runner, store, whole, seed, share) -> None:
    output = store.uri("answers.parquet")
    store.faults(share=share, slow=0.02, seed=seed)
    runner.interrupted(store.uri("in.jsonl"), output=output, shards=6)
    runner.done(store.uri("in.jsonl"), output=output)
    counts = store.asked()["counts"]
    store.faults()
    assert store.get("answers.parquet") == whole
    assert sum(counts.values()) >= 5, counts
