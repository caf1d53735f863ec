"""What the tests of jobs do again and again."""

from __future__ import annotations

import json
import random
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

if TYPE_CHECKING:
    from pathlib import Path

    from processes import Runner

WORDS = ("amber", "basin", "copper", "delta", "ember", "fjord", "glacier", "island", "jetty", "kelp", "loch", "moss")

NODE_BYTES = 80 << 20
"""Of the object store of a node of a cluster: the least that Ray takes."""


def rows(count: int, *, first: int = 0) -> list[dict[str, str]]:
    """Small examples, all different."""
    return [
        {
            "id": f"row {number}",
            "question": f"Which {WORDS[number % 12]} has number {number}?",
            "context": " ".join(WORDS[(number * step) % 12] for step in range(1, 40)) + f" {number}.",
        }
        for number in range(first, first + count)
    ]


def write_rows(path: Path, examples: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(example) + "\n" for example in examples))


def add_node(cluster: Any) -> None:
    """Add a node with one core to a Ray cluster."""
    cluster.add_node(num_cpus=1, object_store_memory=NODE_BYTES)


def flip_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x04
    path.write_bytes(bytes(data))


def killing(
    runner: Runner, whole: bytes, *, kills: int, seed: int, patch: str = "jobs_patches:count"
) -> dict[str, int]:
    """Kill a run at random moments, start it again each time, and hold the outcome against an uninterrupted run.

    Starting a process takes much longer than a shard; so kills come at a random time after a start has got to a
    random point: the locking of the folder, the plan, or the next marker.
    """
    draw = random.Random(seed)
    counts = runner.folder / "counts"
    counts.write_text("")
    setting = {"patch": patch, "environment": {"COUNT": str(counts), "SLOW": "0.05"}, "durable": True}
    done = 0
    while done < kills:
        process = runner.start("in.jsonl", **setting)
        before = runner.markers()
        goal = before + draw.choice([0, 0, 1, 1, 2])
        end = time.monotonic() + 60
        while runner.markers() < goal or not runner.run_folder.exists():
            assert process.process.is_alive(), f"ended before it was killed often enough: {process.err}"
            assert time.monotonic() < end
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.06) if goal > before else draw.uniform(0, 0.9))
        process.send(signal.SIGKILL)
        if process.wait() == 0:
            raise AssertionError("the run ended before it was killed often enough: make it longer")
        assert process.wait() == -signal.SIGKILL
        done += 1
        assert not runner.output.exists()
    runner.done("in.jsonl", **setting)
    assert runner.output.read_bytes() == whole
    begun = Counter(map(int, counts.read_text().split()))
    again = sum(begun.values()) - len(begun)
    assert set(begun) == set(range(len(begun)))
    assert again <= kills, begun
    table = pq.read_table(runner.output)
    inputs = [json.loads(line)["id"] for line in (runner.folder / "in.jsonl").read_text().splitlines()]
    assert table["id"].to_pylist() == inputs
    return {"kills": done, "shards": len(begun), "begun again": again}
