"""The staged engine between real processes: signals, resuming, the same bytes as one shard after the other."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

SETTING = {"patch": "jobs_patches:staged", "environment": {"SLOW": "0.3"}}
WORDS = ("in.jsonl", "--workers", "2")


def workers(runner) -> list[int]:
    """The processes beside the card."""
    return [int(pid) for pid in (runner.folder / "workers").read_text().split()]


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_the_same_bytes(runner, whole) -> None:
    process = runner.start(*WORDS, patch="jobs_patches:staged")
    process.follow()
    assert process.wait() == 0, process.err
    assert runner.output.read_bytes() == whole


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_signal_ends_all_processes_and_the_same_command_continues(runner, whole, number, code) -> None:
    process = runner.start(*WORDS, **SETTING)
    process.wait_for(lambda: runner.markers() >= 2)
    others = workers(runner)
    assert len(alive(others)) == 2
    process.send(number)
    assert process.wait() == code
    end = time.monotonic() + 120
    while alive(others) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive(others)
    done = runner.markers()
    assert 2 <= done < 10
    runner.done(*WORDS, patch="jobs_patches:staged")
    assert runner.output.read_bytes() == whole
    assert runner.summary()["resumed_shards"] == done


def test_a_process_that_dies_is_told_of(runner, whole) -> None:
    process = runner.start(*WORDS, **SETTING)
    process.wait_for(lambda: runner.markers() >= 1)
    # One of them may be idle to the end, as few work as keep the card busy: it would not be missed.
    for worker in workers(runner):
        os.kill(worker, signal.SIGKILL)
    assert process.wait() == 4
    assert "a worker process died" in process.error
    runner.done("in.jsonl")
    assert runner.output.read_bytes() == whole
