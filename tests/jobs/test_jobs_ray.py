"""``extract --engine ray`` on real clusters of this machine. `pytest -m cluster tests/jobs/test_jobs_ray.py`."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jobs_tools import add_node, rows, write_rows
from pooltools import Numbered, NumberJob, NumberWorkerFactory, begun, run_numbers

from qatool.errors import EnvironmentUnfitError

if TYPE_CHECKING:
    from qatool.jobs.workers.raypool import RayWorkerPool

pytest.importorskip("ray")

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore")]

TROUBLE = {"patch": "jobs_patches:troubled_workers"}


def test_a_worker_killed_a_node_removed_and_another_added(runner, cluster, ray_words) -> None:
    write_rows(runner.folder / "in.jsonl", rows(1200))
    runner.done("in.jsonl")
    whole = runner.output.read_bytes()
    runner.output.unlink()
    slow = runner.folder / "slow"
    slow.write_text("5")
    process = runner.start("in.jsonl", *ray_words, **TROUBLE)
    process.wait_for(lambda: len(workers(runner)) == 2)
    os.kill(begun(runner.folder)[0][1], signal.SIGKILL)
    process.wait_for(lambda: len(workers(runner)) == 3)
    gone, *_ = cluster.worker_nodes
    cluster.remove_node(gone, allow_graceful=False)
    add_node(cluster)
    process.wait_for(lambda: len(workers(runner)) == 4)
    slow.write_text("0")
    assert process.wait() == 0, process.err
    assert "a worker was lost; its shard is tried again" in process.err
    assert runner.output.read_bytes() == whole
    again = len(begun(runner.folder)) - 60
    assert again <= 4, "more was done again than two workers had in hand"


def test_the_driver_is_killed_and_started_again(runner, whole, ray_words) -> None:
    (runner.folder / "slow").write_text("0.3")
    process = runner.start("in.jsonl", *ray_words, **TROUBLE)
    process.wait_for(lambda: runner.markers() >= 3)
    process.send(signal.SIGKILL)
    process.wait()
    (runner.folder / "slow").unlink()
    runner.done("in.jsonl", *ray_words, **TROUBLE)
    assert runner.output.read_bytes() == whole
    assert runner.summary()["resumed_shards"] >= 3
    assert runner.summary()["device"].startswith("cpu x ")


def test_a_deadly_shard_is_given_up_and_the_rest_is_done(runner, whole, ray_words) -> None:
    (runner.folder / "kill-3").write_text("9")
    process = runner.run("in.jsonl", *ray_words, **TROUBLE)
    assert process.wait() == 4
    assert process.error.startswith("Error: shard 3 (rows 60 to 79): its worker was lost 3 times (the last time: ")
    assert runner.markers() == 9
    runner.done("in.jsonl")
    assert runner.output.read_bytes() == whole
    assert runner.summary()["resumed_shards"] == 9


def test_a_part_that_cannot_be_sent_is_told(cluster, tmp_path) -> None:
    (tmp_path / "unsendable-3").touch()
    with pytest.raises(RuntimeError, match=r"type TaskOutcome cannot be sent to another process: .*pickle"):
        run_numbers(NumberJob(20), by_ray(cluster, tmp_path))


class Unreadable(Numbered):
    """A task that can be pickled and not be had back."""

    def __reduce__(self) -> Any:
        return int, ("no number",)


def test_a_task_that_no_worker_can_read_ends_the_run(cluster, tmp_path) -> None:
    job = NumberJob(20)
    job.task_for = lambda unit: Unreadable(3) if unit.index == 3 else unit
    with pytest.raises(EnvironmentUnfitError, match=r"no worker can be had: .*no number.*is qatool installed"):
        run_numbers(job, by_ray(cluster, tmp_path))
    assert 3 not in job.written


def by_ray(cluster, folder) -> RayWorkerPool[Numbered]:
    from qatool.jobs.workers.raypool import ClusterOptions, RayWorkerPool

    return RayWorkerPool(NumberWorkerFactory(folder), ClusterOptions(address=cluster.address, workers=2))


def test_a_cluster_of_its_own(runner) -> None:
    runner.words = ("--shard-rows", "20", "--progress", "none", "--backend", "torch", "--device", "cpu")
    runner.done("in.jsonl")
    one = runner.output.read_bytes()
    before = set(Path("/tmp").glob("qatool-ray-*"))
    process = runner.done("in.jsonl", "--engine", "ray", "--keep", "extra", "--devices", "2")
    runner.done("in.jsonl", "--engine", "ray", "--devices", "2")
    assert runner.output.read_bytes() == one
    assert set(Path("/tmp").glob("qatool-ray-*")) == before
    said = re.compile(r"\S+Z WARNING --keep extra: no row|200 examples|model |answers in ")
    assert [line for line in process.err.splitlines() if not said.match(line)] == []


def test_more_workers_than_fit(runner) -> None:
    process = runner.run("in.jsonl", "--engine", "ray", "--cpus-per-worker", "999")
    assert process.wait() == 4
    assert process.error.startswith("Error: --engine ray: a worker of 999 CPUs and 0 GPUs does not fit")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_nobody_at_the_address(runner, address) -> None:
    began = time.monotonic()
    process = runner.run("in.jsonl", "--engine", "ray", "--ray-address", address)
    assert process.wait() == 4
    assert time.monotonic() - began < 40
    assert process.error.startswith(f"Error: --ray-address {address}: cannot be reached (")
    assert "check the address" in process.error


def test_terminated_while_it_waits_for_a_cluster(runner) -> None:
    """Somebody listens, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        process = runner.start("in.jsonl", "--engine", "ray", "--ray-address", address)
        silent.settimeout(60)
        silent.accept()
        time.sleep(2)
        began = time.monotonic()
        process.send(signal.SIGTERM)
        assert process.wait() == 143
        assert time.monotonic() - began < 15


def test_terminated(runner, whole, ray_words) -> None:
    (runner.folder / "slow").write_text("30")
    process = runner.start("in.jsonl", *ray_words, **TROUBLE)
    process.wait_for(lambda: begun(runner.folder))
    began = time.monotonic()
    process.send(signal.SIGTERM)
    assert process.wait() == 143
    assert time.monotonic() - began < 15
    assert process.error == "Error: terminated; the same command continues\n"
    runner.done("in.jsonl")
    assert runner.output.read_bytes() == whole


def workers(runner) -> set[int]:
    return {pid for _, pid in begun(runner.folder)}
