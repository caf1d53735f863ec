"""Many rows, many shards: what the machinery itself costs. `pytest -m slow tests/jobs/test_jobs_scale.py -s`."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jobs_tools import rows, write_rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def test_memory_is_flat_at_five_million_rows(runner) -> None:
    few = rows(50)
    with (runner.folder / "in.jsonl").open("w") as stream:
        for number in range(5_000_000):
            stream.write(json.dumps({**few[number % 50], "id": f"row {number}"}) + "\n")
    runner.words = ("--backend", "constant", "--shard-rows", "20000", "--progress", "none", "--keep-run")
    process = runner.start("in.jsonl")
    seen = []
    began = time.monotonic()
    while process.process.is_alive():
        seen.append((runner.markers(), _resident_mib(process.pid)))
        time.sleep(1)
    assert process.wait() == 0, process.err
    early = max(size for shards, size in seen if shards <= 10)
    late = max(size for shards, size in seen if shards > 10)
    print(f"5,000,000 rows: {early} MiB until shard 10, {late} MiB after, {time.monotonic() - began:.0f} s")
    assert late < early + 150
    began = time.monotonic()
    runner.done("in.jsonl")
    print(f"resumed (nothing to do, written again) in {time.monotonic() - began:.0f} s")


def test_ten_thousand_shards_are_planned_and_resumed_in_five_seconds(runner) -> None:
    pq.write_table(pa.Table.from_pylist(rows(10_000)), runner.folder / "in.parquet", row_group_size=1000)
    runner.words = ("--backend", "constant", "--shard-rows", "1", "--progress", "none", "--keep-run")
    runner.done("in.parquet")
    first = runner.summary()
    spent = first["stages_seconds"]["write"] / 10_000
    print(f"10,000 shards: {1000 * spent:.2f} ms a shard to make it durable")
    runner.run_folder.joinpath("parts", "part-09999.parquet").unlink()
    runner.done("in.parquet")
    events = runner.log()
    (start, *_, last) = [place for place, event in enumerate(events) if event["event"] == "started"]
    assert start == 0
    summary = runner.summary()
    assert summary["resumed_shards"] == 9999
    resumed = next(event for event in events[last:] if event["event"] == "shard done")
    print(f"resumed 10,000 shards; the missing one was done after {summary['speed'][0]['seconds']} s: {resumed}")
    assert summary["speed"][0]["seconds"] < 5
    assert spent < 0.010


def test_ten_thousand_parquet_files_are_planned_and_resumed(runner) -> None:
    folder = runner.folder / "inputs"
    folder.mkdir()
    for number, row in enumerate(rows(10_000)):
        pq.write_table(pa.Table.from_pylist([row]), folder / f"{number:05d}.parquet")
    runner.words = ("--backend", "constant", "--shard-rows", "100", "--progress", "none", "--keep-run")
    runner.done("inputs")
    runner.run_folder.joinpath("parts", "part-00099.parquet").unlink()
    runner.done("inputs")
    summary = runner.summary()
    total = summary["load_seconds"] + summary["speed"][0]["seconds"]
    print(f"10,000 Parquet files: planned in {summary['load_seconds']} s, resumed in {total} s together")
    assert total < 15


def test_cost_a_shard(runner) -> None:
    write_rows(runner.folder / "in.jsonl", rows(2000))
    runner.words = ("--backend", "constant", "--shard-rows", "10", "--progress", "none")
    runner.done("in.jsonl")
    spent = runner.summary()["stages_seconds"]["write"] / 200
    print(f"200 shards of 10 rows: {1000 * spent:.2f} ms a shard to make it durable")
    assert spent < 0.010


def _resident_mib(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(found[0].split()[1]) // 1024 if found else 0
