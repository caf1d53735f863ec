"""Signals, time limits and locks, between real processes."""

from __future__ import annotations

import json
import os
import signal
import threading
import time

import pytest

ENDS = {
    signal.SIGINT: (130, "interrupted"),
    signal.SIGTERM: (143, "terminated"),
    signal.SIGHUP: (143, "terminated, as its terminal was closed (SIGHUP)"),
}


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_ends_the_run_soon_and_the_same_command_continues(runner, whole, number) -> None:
    code, word = ENDS[number]
    process = runner.held("in.jsonl", shards=2)
    began = time.monotonic()
    process.send(number)
    assert process.wait() == code
    assert time.monotonic() - began < 3
    assert process.err == f"Error: {word}; the same command continues\n"
    assert runner.log()[-1]["event"] == "stopped"
    assert runner.log()[-1]["exit_code"] == code
    assert not runner.output.exists()
    runner.done("in.jsonl")
    assert runner.output.read_bytes() == whole
    assert runner.summary()["resumed_shards"] == 2


@pytest.mark.parametrize(
    ("patch", "sign"),
    [("slow_model_load", "loading"), ("slow_tokenizer", "tokenising"), ("slow_assembly", "assembling")],
)
def test_a_signal_is_heard_wherever_the_run_is(runner, whole, patch, sign) -> None:
    process = runner.start("in.jsonl", patch=f"jobs_patches:{patch}")
    process.wait_for((runner.folder / sign).exists)
    began = time.monotonic()
    process.send(signal.SIGTERM)
    assert process.wait() == 143
    assert time.monotonic() - began < 5
    assert process.err == "Error: terminated; the same command continues\n"
    assert not list(runner.folder.rglob(".*.tmp"))
    runner.done("in.jsonl")
    assert runner.output.read_bytes() == whole


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_at_once(runner, number) -> None:
    process = runner.start("in.jsonl", patch="jobs_patches:deaf")
    process.wait_for((runner.folder / "working").exists)
    process.send(signal.SIGTERM)
    time.sleep(0.3)
    assert process.process.is_alive()
    process.send(number)
    assert process.wait(5) == ENDS[number][0]
    runner.done("in.jsonl")


def test_a_terminal_that_is_closed_may_say_so_twice(runner) -> None:
    process = runner.start("in.jsonl", patch="jobs_patches:deaf")
    process.wait_for((runner.folder / "working").exists)
    for _ in range(2):
        process.send(signal.SIGHUP)
        time.sleep(0.3)
    assert process.process.is_alive()
    process.send(signal.SIGTERM)
    assert process.wait(5) == 143


def test_an_ignored_signal_stays_ignored(runner) -> None:
    process = runner.held("in.jsonl", shards=1, patch="jobs_patches:hold_and_ignore_interrupts")
    process.send(signal.SIGINT)
    assert process.go_on() == 0


def test_max_duration_always_makes_progress(runner, whole) -> None:
    for start in range(1, 4):
        process = runner.run("in.jsonl", "--max-duration", "0s")
        assert process.wait() == 8
        assert process.error == "Error: --max-duration 0s: is over; the same command continues\n"
        assert runner.markers() == start
    runner.done("in.jsonl", "--max-duration", "1h")
    assert runner.output.read_bytes() == whole
    assert runner.summary()["resumed_shards"] == 3


def test_a_stopped_run_says_so_where_the_summary_is_wanted(runner) -> None:
    runner.done("in.jsonl")
    described = runner.summary()
    words = ("--max-duration", "0s", "--summary", "stopped.json", "--restart", "--shard-rows", "20")
    assert runner.code("in.jsonl", *words) == 8
    told = json.loads((runner.folder / "stopped.json").read_text())
    assert (told["exit_code"], told["examples"], told["rows_written"]) == (8, 20, 0)
    assert told["stopped"] == "--max-duration 0s: is over; the same command continues"
    assert runner.summary() == described, "that of the output stays beside it"


def test_a_summary_goes_into_a_pipe_and_no_output_does(runner) -> None:
    pipe = runner.folder / "pipe.jsonl"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    runner.done("in.jsonl", "--summary", "pipe.jsonl")
    reader.join(10)
    assert json.loads(read[0])["examples"] == 200
    assert pipe.is_fifo()
    process = runner.run("in.jsonl", "-o", "pipe.jsonl")
    assert process.wait() == 9
    assert "pipe.jsonl: is a device or a pipe" in process.error
    assert pipe.is_fifo()


def test_a_summary_that_nobody_reads_is_told(runner) -> None:
    pipe = runner.folder / "pipe"
    os.mkfifo(pipe)
    process = runner.start("in.jsonl", "--summary", "-", stdout=str(pipe))
    pipe.open().close()
    assert process.wait() == 9
    assert process.err == (
        "Error: standard output: cannot be written: the reader has gone; nothing more can be written\n"
    )
    assert runner.log()[-1]["exit_code"] == 9


def test_every_failure_is_an_error_in_the_log(runner) -> None:
    process = runner.held("in.jsonl", shards=1)
    second = runner.run("in.jsonl", "--log-file", "log.jsonl", "--log-format", "json")
    assert second.wait() == 7
    told = [json.loads(line) for line in (runner.folder / "log.jsonl").read_text().splitlines()]
    assert [(one["level"], one["event"], one["exit_code"]) for one in told] == [("ERROR", "stopped", 7)]
    assert f"Error: {told[0]['reason']}\n" == second.error
    process.send(signal.SIGTERM)
    assert process.wait() == 143
    assert [one["level"] for one in runner.log() if one["event"] == "stopped"] == ["INFO"]


def test_max_duration_drops_the_shard_in_hand(runner) -> None:
    setting = {"patch": "jobs_patches:hold", "environment": {"HOLD": "1"}}
    assert runner.code("in.jsonl", "--max-duration", "1s", **setting) == 8
    assert runner.markers() == 1


def test_two_starts_at_once(runner, whole) -> None:
    first = runner.held("in.jsonl", shards=1)
    second = runner.run("in.jsonl")
    assert second.wait() == 7
    owner = json.loads((runner.run_folder / "lock").read_bytes())
    assert second.error == (
        f"Error: answers.parquet.qatool: another run is at work (process {first.pid} on {owner['host']} since "
        f"{owner['since']}); wait for it or end it\n"
    )
    assert first.go_on() == 0
    assert runner.output.read_bytes() == whole


def test_of_many_starts_at_the_same_moment_one_works(runner, whole) -> None:
    setting = {"patch": "jobs_patches:hold", "environment": {"HOLD": "0"}}
    processes = [runner.start("in.jsonl", **setting) for _ in range(4)]
    waiting = list(processes)
    end = time.monotonic() + 60
    while len(waiting) > 1 and time.monotonic() < end:
        waiting = [process for process in waiting if process.process.exitcode is None]
        time.sleep(0.01)
    assert [process.go_on() for process in waiting] == [0]
    assert sorted(process.wait() for process in processes) == [0, 7, 7, 7]
    assert runner.output.read_bytes() == whole


def test_the_lock_of_a_dead_process_is_taken_over_even_without_flock(runner, whole) -> None:
    patch = "jobs_patches:no_flock"
    process = runner.start("in.jsonl", patch="jobs_patches:no_flock_and_pause_before_part")
    process.wait_for(lambda: runner.markers() == 1)
    time.sleep(0.3)
    assert runner.code("in.jsonl", patch=patch) == 7
    process.send(signal.SIGKILL)
    process.wait()
    runner.done("in.jsonl", patch=patch)
    assert runner.output.read_bytes() == whole


@pytest.mark.parametrize("where", ["part", "final_rename"])
def test_a_paused_owner_that_wakes_after_a_take_over_writes_nothing(runner, whole, where) -> None:
    paused = runner.start("in.jsonl", patch=f"jobs_patches:no_flock_and_pause_before_{where}")
    paused.wait_for(lambda: _is_paused(paused.pid))
    lock = runner.run_folder / "lock"
    old = time.time() - 700
    os.utime(lock, (old, old))
    patch = "jobs_patches:no_flock_and_hold" + ("_assembly" if where == "final_rename" else "")
    other = runner.held("in.jsonl", "--keep-run", shards=1, patch=patch)
    assert json.loads(lock.read_bytes())["pid"] == other.pid
    files = sorted(runner.run_folder.glob("*/part-0000[01].*"))
    assert len(files) == 4
    before = [(path.stat().st_ino, path.read_bytes()) for path in files]
    paused.send(signal.SIGCONT)
    assert paused.wait() == 7
    assert paused.error == (
        "Error: answers.parquet.qatool/lock: this run was taken for dead and another took over; "
        "nothing more is written\n"
    )
    assert not runner.output.exists()
    assert [(path.stat().st_ino, path.read_bytes()) for path in files] == before
    assert other.go_on() == 0
    assert runner.output.read_bytes() == whole


def test_standard_output_is_not_resumable(runner) -> None:
    process = runner.held("in.jsonl", output="-", shards=1)
    assert process.out
    process.send(signal.SIGINT)
    assert process.wait() == 130
    assert process.err == (
        "Error: interrupted; standard output cannot be continued: start again, or name a file with -o\n"
    )
    assert [path.name for path in runner.folder.iterdir() if not path.name.startswith(".")] == ["in.jsonl"]


def test_a_reader_that_leaves_early_is_exit_9(runner) -> None:
    pipe = runner.folder / "pipe"
    os.mkfifo(pipe)
    process = runner.start("in.jsonl", output="-", stdout=str(pipe))
    with pipe.open() as stream:
        assert json.loads(stream.readline())["id"] == "row 0"
    assert process.wait() == 9
    assert process.err == (
        "Error: standard output: cannot be written: the reader has gone; nothing more can be written\n"
    )


def _is_paused(pid: int) -> bool:
    with open(f"/proc/{pid}/stat") as stream:  # noqa: PTH123
        return stream.read().rpartition(")")[2].split()[0] == "T"
