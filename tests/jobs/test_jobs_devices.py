"""``extract --devices N``: worker processes over one plan. On a CPU, as a worker is a worker whatever it holds."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jobs_tools import rows, write_rows
from pooltools import begun
from processes import qatool

TWO = ("--device", "cpu", "--devices", "2", "--workers", "1")
TROUBLE = {"patch": "jobs_patches:troubled_workers"}


@pytest.fixture(autouse=True)
def two_cores() -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two cores")


def gone(pids: set[int]) -> bool:
    """Whether processes have ended; of one that nobody has asked for its exit code there is no command line left."""

    def words(pid: int) -> bytes:
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return b""

    return not any(map(words, pids))


def test_two_processes_give_the_bytes_of_one(runner, whole) -> None:
    runner.done("in.jsonl", *TWO, **TROUBLE)
    assert runner.output.read_bytes() == whole
    assert len({pid for _, pid in begun(runner.folder)}) == 2
    summary = runner.summary()
    assert summary["device"] == "cpu x 2"
    assert (summary["shards"], summary["examples"]) == (10, 200)
    assert not runner.run_folder.exists()


def test_two_processes_with_a_model_give_the_bytes_of_one(runner) -> None:
    runner.words = (
        "--shard-rows",
        "20",
        "--progress",
        "none",
        "--backend",
        "torch",
        "--top-k",
        "3",
        "--snippet",
        "9",
    )
    runner.done("in.jsonl", "--device", "cpu")
    one = runner.output.read_bytes()
    runner.done("in.jsonl", *TWO)
    assert runner.output.read_bytes() == one


def test_standard_output_keeps_its_order(runner) -> None:
    (runner.folder / "kill-0").write_text("1")
    process = runner.done("in.jsonl", *TWO, "-o", "-", **TROUBLE)
    assert [json.loads(line)["id"] for line in process.out.splitlines()] == [f"row {n}" for n in range(200)]


def test_standard_input_and_kept_columns(runner) -> None:
    runner.done("in.jsonl", "--keep", "extra")
    one = runner.output.read_bytes()
    runner.done("-", "--keep", "extra", *TWO, stdin=str(runner.folder / "in.jsonl"))
    assert runner.output.read_bytes() == one


def test_kept_columns_of_any_type(runner) -> None:
    kept = {
        "far": pa.array([2**62] * 200, pa.timestamp("us")),
        "fine": pa.array(range(200), pa.timestamp("ns")),
        "vector": pa.array([[0.1, float("nan")]] * 200, pa.list_(pa.float32(), 2)),
    }
    table = pa.table(pa.Table.from_pylist(rows(200)).to_pydict() | kept)
    pq.write_table(table, runner.folder / "in.parquet")
    words = ["in.parquet", *TWO, *(word for name in kept for word in ("--keep", name))]
    runner.done(*words)
    found = pq.read_table(runner.output)
    assert all(found[name].equals(table[name]) for name in ("far", "fine"))
    assert found["vector"].type == table["vector"].type
    runner.done(*words, output="answers.jsonl")
    lines = (runner.folder / "answers.jsonl").read_bytes()
    last = json.loads(lines.splitlines()[-1])
    assert last["far"] == "148108-07-06 14:00:27.387904"
    assert last["fine"] == "1970-01-01 00:00:00.000000199"
    assert last["vector"] == [0.1, None]
    # Arrow makes pandas' objects of fine times where it is there, and refuses to where it is not.
    (runner.folder / "pandas.py").write_text("raise ImportError")
    environment = os.environ | {"PYTHONPATH": f"{runner.folder}:{os.environ['PYTHONPATH']}"}
    words += ["-o", "without.jsonl", "--model", str(runner.model), *runner.words]
    done = qatool("extract", *words, cwd=runner.folder, env=environment)
    assert done.returncode == 0, done.stderr
    assert (runner.folder / "without.jsonl").read_bytes() == lines


def test_killed_and_continued_by_one_device(runner, whole) -> None:
    (runner.folder / "slow").write_text("0.2")
    process = runner.start("in.jsonl", *TWO, **TROUBLE)
    process.wait_for(lambda: runner.markers() >= 3)
    process.send(signal.SIGKILL)
    process.wait()
    pids = {pid for _, pid in begun(runner.folder)}
    end = time.monotonic() + 100
    while not gone(pids):
        assert time.monotonic() < end, "workers outlive their run"
        time.sleep(0.05)
    runner.done("in.jsonl")
    assert runner.output.read_bytes() == whole
    assert runner.summary()["resumed_shards"] >= 3
    assert len(begun(runner.folder)) <= runner.summary()["resumed_shards"] + 2 * 2


def test_begun_by_one_device_and_continued_by_two(runner, whole) -> None:
    runner.interrupted("in.jsonl", shards=4)
    runner.done("in.jsonl", *TWO)
    assert runner.output.read_bytes() == whole
    assert runner.summary()["resumed_shards"] == 4


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_soon(runner, whole, number, code) -> None:
    (runner.folder / "slow").write_text("30")
    process = runner.start("in.jsonl", *TWO, **TROUBLE)
    process.wait_for(lambda: len(begun(runner.folder)) == 2)
    began = time.monotonic()
    process.send(number)
    assert process.wait() == code
    assert time.monotonic() - began < 10
    assert "the same command continues" in process.error
    assert gone({pid for _, pid in begun(runner.folder)})
    (runner.folder / "slow").unlink()
    runner.done("in.jsonl", *TWO)
    assert runner.output.read_bytes() == whole


def test_a_time_limit(runner, whole) -> None:
    assert runner.code("in.jsonl", *TWO, "--max-duration", "0s") == 8
    assert 1 <= runner.markers() <= 8
    runner.done("in.jsonl", *TWO)
    assert runner.output.read_bytes() == whole


def test_a_worker_that_is_killed_is_replaced(runner, whole) -> None:
    (runner.folder / "kill-2").write_text("1")
    process = runner.done("in.jsonl", *TWO, **TROUBLE)
    assert "WARNING a worker was lost; its shard is tried again shard=" in process.err
    assert 'reason="its process was ended by SIGKILL, as when memory runs out"' in process.err
    assert runner.output.read_bytes() == whole


def test_a_deadly_shard_is_given_up_and_tried_again_by_the_next_start(runner, whole) -> None:
    (runner.folder / "kill-3").write_text("9")
    process = runner.run("in.jsonl", *TWO, **TROUBLE)
    assert process.wait() == 4
    assert process.error == (
        "Error: shard 3 (rows 60 to 79): its worker was lost 3 times (the last time: its process was ended by "
        "SIGKILL, as when memory runs out); the same command tries it again, and --on-error skip sets its rows "
        "aside\n"
    )
    assert runner.markers() == 9
    assert not runner.output.exists()
    assert (runner.folder / "kill-3").read_text() == "6"
    (runner.folder / "kill-3").unlink()
    runner.done("in.jsonl", *TWO, **TROUBLE)
    assert runner.output.read_bytes() == whole
    assert runner.summary()["resumed_shards"] == 9


def test_the_rows_of_a_deadly_shard_are_set_aside(runner) -> None:
    (runner.folder / "kill-3").write_text("9")
    process = runner.run("in.jsonl", *TWO, "--on-error", "skip", **TROUBLE)
    assert process.wait() == 5
    table = pq.read_table(runner.output)
    assert table["id"].to_pylist() == [row["id"] for row in rows(200)]
    errors = table["error"].to_pylist()
    assert [row for row, error in enumerate(errors) if error] == list(range(60, 80))
    assert errors[60].startswith("not answered: its worker was lost 3 times")
    assert set(table.slice(60, 20)["answer"].to_pylist()) == {None}
    assert runner.summary()["reject_reasons"] == {"not answered": 20}


def test_rejects_of_a_run_that_stops_are_listed_wherever_they_are(runner) -> None:
    examples = rows(200)
    for row in (5, 195):
        examples[row]["context"] = None
    write_rows(runner.folder / "in.jsonl", examples)
    (runner.folder / "kill-0").write_text("9")
    (runner.folder / "slow").write_text("0.05")
    assert runner.code("in.jsonl", *TWO, "--on-error", "skip", "--max-errors", "1", **TROUBLE) == 3
    listed = [json.loads(line) for line in (runner.run_folder / "rejects.jsonl").read_text().splitlines()]
    assert {5, 195} & {reject["row"] for reject in listed}


def test_answers_are_taken_over(runner) -> None:
    runner.done("in.jsonl")
    before = runner.output.read_bytes()
    write_rows(runner.folder / "in.jsonl", rows(20, first=500) + rows(200))
    runner.done("in.jsonl", "--reuse", "answers.parquet", "-o", "one.parquet")
    runner.done("in.jsonl", "--reuse", "answers.parquet", "-o", "two.parquet", *TWO)
    assert (runner.folder / "one.parquet").read_bytes() == (runner.folder / "two.parquet").read_bytes()
    summary = json.loads((runner.folder / "two.parquet.summary.json").read_text())
    assert summary["taken_over"] == 200
    assert runner.output.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--devices", "2"), "--devices 2: this machine has no CUDA card; drop it, or add --device cpu for"),
        (("--device", "cpu", "--devices", "999"), "--devices 999: this machine has "),
    ],
)
def test_more_devices_than_there_are(runner, words, said) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a card")
    runner.words = ("--progress", "none")
    process = runner.run("in.jsonl", *words)
    assert process.wait() == 4
    assert process.error.startswith(f"Error: {said}")
    assert not runner.run_folder.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--devices", "0"), "--devices 0: give a number from 1, or all"),
        (("--devices", "two"), "--devices two: give a number from 1, or all"),
        (("--devices", "2", "--device", "cuda:1"), "--devices 2: --device cuda:1 is one card; use --device cuda"),
        (("--engine", "ray", "--device", "cuda:1"), "--device cuda:1: Ray chooses the cards; use --device cuda"),
        (("--ray-address", "auto"), "--ray-address: has no meaning without --engine ray; add it"),
        (("--gpus-per-worker", "1"), "--gpus-per-worker: has no meaning without --engine ray; add it"),
        (("--engine", "ray", "--cpus-per-worker", "0"), "--cpus-per-worker 0: must be above 0"),
        (("--engine", "ray", "--gpus-per-worker", "-1"), "--gpus-per-worker -1: must be at least 0"),
    ],
)
def test_options_that_make_no_sense(runner, words, said) -> None:
    process = runner.run("in.jsonl", *words)
    assert process.wait() == 2
    assert process.error == f"Error: {said}\n"


def test_without_ray(runner) -> None:
    process = runner.run("in.jsonl", "--engine", "ray", patch="jobs_patches:no_ray")
    assert process.wait() == 4
    assert process.error == "Error: --engine ray: needs ray; run: pip install 'qatool[ray]'\n"
    assert not runner.run_folder.exists()


CARDS = ("in.jsonl", "--device", "cpu", "--devices", "2", "--workers", "2")
AS_CARDS = {"patch": "jobs_patches:card_workers"}


def test_workers_of_cards_with_processes_beside_them_give_the_bytes_of_one(runner, whole) -> None:
    runner.done(*CARDS, **AS_CARDS)
    assert runner.output.read_bytes() == whole
    workers = {pid for _, pid in begun(runner.folder)}
    assert len(workers) == 2
    beside = {int(pid) for pid in (runner.folder / "workers").read_text().split()}
    assert 1 <= len(beside) <= 2
    assert not beside & workers
    assert gone(workers | beside)
    assert runner.summary()["windows_read"] > 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_is_beside_the_workers_of_cards_ends_with_the_run(runner, whole, number) -> None:
    process = runner.start(*CARDS, **AS_CARDS, environment={"SLOW": "0.4"})
    process.wait_for(lambda: runner.markers() >= 2)
    workers = {pid for _, pid in begun(runner.folder)}
    beside = {int(pid) for pid in (runner.folder / "workers").read_text().split()}
    assert not gone(beside)
    process.send(number)
    process.wait()
    end = time.monotonic() + 60
    while not gone(workers | beside) and time.monotonic() < end:
        time.sleep(0.05)
    assert gone(workers | beside)
    runner.done(*CARDS, **AS_CARDS)
    assert runner.output.read_bytes() == whole


def test_a_card_whose_worker_dies_is_replaced(runner, whole) -> None:
    process = runner.start(*CARDS, **AS_CARDS, environment={"SLOW": "0.4"})
    process.wait_for(lambda: runner.markers() >= 1)
    _, pid = begun(runner.folder)[-1]
    os.kill(pid, signal.SIGKILL)
    assert process.wait() == 0, process.err
    assert "a worker was lost; its shard is tried again" in process.err
    assert runner.output.read_bytes() == whole


def test_a_process_beside_a_card_that_dies_is_a_worker_lost(runner, whole) -> None:
    (runner.folder / "kill-actor-3").write_text("1")
    process = runner.run("in.jsonl", *CARDS[1:], **AS_CARDS)
    assert process.process.exitcode == 0, process.err
    assert "a worker was lost; its shard is tried again" in process.err
    assert runner.output.read_bytes() == whole


def test_a_shard_that_kills_whoever_prepares_it_is_set_aside(runner) -> None:
    (runner.folder / "kill-actor-3").write_text("99")
    process = runner.run("in.jsonl", *CARDS[1:], "--on-error", "skip", **AS_CARDS)
    assert process.process.exitcode == 5, process.err
    summary = runner.summary()
    assert (summary["examples"], summary["rejected"]) == (200, 20)
    table = pq.read_table(runner.output)
    assert table["id"].to_pylist() == [row["id"] for row in rows(200)]
