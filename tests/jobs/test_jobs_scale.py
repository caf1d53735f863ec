"""Many rows, many shards: what the machinery itself costs. `pytest -m slow tests/jobs/test_jobs_scale.py -s`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jobs_tools import rows, write_rows
from pooltools import NumberJob, NumberWorkerFactory

from qatool.jobs.engines.distributed import run_distributed
from qatool.jobs.engines.monitor import RunMonitor
from qatool.jobs.stopping import Stop
from qatool.jobs.workers.processpool import ProcessWorkerPool

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

MANY = 5_000_000


@pytest.mark.timeout(0)  # it takes what it takes, as long as it makes progress
def test_memory_is_flat_at_five_million_rows(runner) -> None:
    few = rows(50)
    with (runner.folder / "in.jsonl").open("w") as stream:
        for number in range(MANY):
            stream.write(json.dumps({**few[number % 50], "id": f"row {number}"}) + "\n")
    runner.words = ("--backend", "constant", "--shard-rows", str(MANY // 250), "--progress", "none", "--keep-run")
    process = runner.start("in.jsonl", durable=True)
    seen = []
    began = time.monotonic()
    code = process.follow(look=lambda: seen.append((runner.markers(), _resident_mib(process.pid))))
    assert code == 0, process.err
    early = max(resident for shards, resident in seen if shards <= 10)
    late = max(resident for shards, resident in seen if shards > 10)
    print(f"{MANY:,} rows: {early} MiB until shard 10, {late} MiB after, {time.monotonic() - began:.0f} s")
    assert late < early + 150
    began = time.monotonic()
    runner.done("in.jsonl", durable=True)
    print(f"resumed (nothing to do, written again) in {time.monotonic() - began:.0f} s")


def test_ten_thousand_shards_are_planned_and_resumed_in_five_seconds(runner) -> None:
    pq.write_table(pa.Table.from_pylist(rows(10_000)), runner.folder / "in.parquet", row_group_size=1000)
    runner.words = ("--backend", "constant", "--shard-rows", "1", "--progress", "none", "--keep-run")
    cost = _cost_a_shard(runner, "in.parquet")
    runner.run_folder.joinpath("parts", "part-09999.parquet").unlink()
    runner.done("in.parquet", durable=True)
    events = runner.log()
    (start, *_, last) = [place for place, event in enumerate(events) if event["event"] == "started"]
    assert start == 0
    summary = runner.summary()
    assert summary["resumed_shards"] == 9999
    resumed = next(event for event in events[last:] if event["event"] == "shard done")
    print(f"resumed 10,000 shards; the missing one was done after {summary['speed'][0]['seconds']} s: {resumed}")
    assert summary["speed"][0]["seconds"] < 5
    assert cost.spent < cost.bound


def test_ten_thousand_parquet_files_are_planned_and_resumed(runner) -> None:
    folder = runner.folder / "inputs"
    folder.mkdir()
    for number, row in enumerate(rows(10_000)):
        pq.write_table(pa.Table.from_pylist([row]), folder / f"{number:05d}.parquet")
    runner.words = ("--backend", "constant", "--shard-rows", "100", "--progress", "none", "--keep-run")
    runner.done("inputs", durable=True)
    runner.run_folder.joinpath("parts", "part-00099.parquet").unlink()
    runner.done("inputs", durable=True)
    summary = runner.summary()
    total = summary["load_seconds"] + summary["speed"][0]["seconds"]
    print(f"10,000 Parquet files: planned in {summary['load_seconds']} s, resumed in {total} s together")
    assert total < 15


def test_cost_a_shard(runner) -> None:
    write_rows(runner.folder / "in.jsonl", rows(2000))
    runner.words = ("--backend", "constant", "--shard-rows", "10", "--progress", "none")
    cost = _cost_a_shard(runner, "in.jsonl")
    assert cost.spent < cost.bound


@pytest.mark.filterwarnings("ignore")
def test_scheduling_ten_thousand_small_shards_by_ray(tmp_path, cluster) -> None:
    from qatool.jobs.workers.raypool import ClusterOptions, RayWorkerPool

    _scheduled(RayWorkerPool(NumberWorkerFactory(tmp_path), ClusterOptions(address=cluster.address)))


def test_scheduling_ten_thousand_small_shards_by_processes(tmp_path) -> None:
    _scheduled(ProcessWorkerPool(NumberWorkerFactory(tmp_path), ["one", "two"], preload=["jobs_preload"]))


def _scheduled(pool) -> None:
    """Hold what it costs to hand a shard out and to take its part back, with next to nothing done in between."""
    job = NumberJob(10_000)
    with pool:
        pool.about(lambda: None)
        began = time.monotonic()
        run_distributed(job, pool, job, RunMonitor(stop=Stop(), tick=lambda _: None, done=lambda _: None))
        cost = (time.monotonic() - began) / job.count * 1000
    print(f"10,000 shards: {cost:.2f} ms each")
    assert sorted(job.written) == list(range(10_000))
    assert cost < 10


class _Cost(NamedTuple):
    """Of a run, in ms: what only one shard in ten goes below, as load slows most of them but not every one."""

    spent: float
    """For making a shard durable."""
    disk: float
    """For writing and syncing two files of those sizes, measured in turns with the shards."""

    @property
    def bound(self) -> float:
        """What the disk takes and a quarter more, and 8 ms: tokenising goes on meanwhile."""
        return 1.25 * self.disk + 8


def _cost_a_shard(runner, source: str) -> _Cost:
    costs = runner.folder / "costs"
    patch = {"patch": "jobs_patches:time_commits", "environment": {"COSTS": str(costs)}}
    runner.done(source, durable=True, **patch)
    times = list(zip(*(map(float, line.split()) for line in costs.read_text().splitlines()), strict=True))
    cost = _Cost(*(quantiles(each, n=10)[0] for each in times))
    spent, disk = map(median, times)
    print(
        f"{len(times[0]):,} shards: {spent:.2f} ms a shard to make it durable, the disk alone {disk:.2f} (medians); "
        f"{cost.spent:.2f} and {cost.disk:.2f} (tenths)"
    )
    return cost


def _resident_mib(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(found[0].split()[1]) // 1024 if found else 0
