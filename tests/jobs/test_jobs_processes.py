"""Processes over a stream: what is large and under way does not keep a stop waiting."""

from __future__ import annotations

import time

import pytest

from qatool.jobs.processes import in_order


class StopNowError(Exception):
    """Stands for a signal."""


@pytest.mark.timeout(60)
def test_a_stop_does_not_wait_for_an_item_on_its_way() -> None:
    began = time.monotonic()

    def check() -> None:
        # By then both processes sleep, and the next item is larger than what a pipe holds.
        if time.monotonic() > began + 4:
            raise StopNowError

    items = ((30.0, b"x" * 4_000_000) for _ in range(100))
    with pytest.raises(StopNowError):
        list(in_order(slow, items, workers=2, check=check, preload=["time"]))
    assert time.monotonic() - began < 20


def slow(item: tuple[float, bytes]) -> int:
    seconds, load = item
    time.sleep(seconds)
    return len(load)
