"""The output written while parts are made: the same bytes, whatever happens, and given up rather than wrong."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobs_tools import flip_byte, killing, rows, write_rows

from qatool.errors import Interrupted, OutputError
from qatool.extraction.runs.earlyoutput import EarlyOutput


def told(runner) -> str:
    return (runner.folder / "early").read_text()


def events(runner, event: str) -> list[dict]:
    lines = (runner.run_folder / "log.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["event"].startswith(event)]


def test_the_bytes_are_those_of_an_output_written_in_the_end(runner, whole) -> None:
    runner.done("in.jsonl", patch="jobs_patches:early_output")
    assert told(runner) == "taken"
    assert runner.output.read_bytes() == whole
    assert runner.summary()["rows_written"] == 200
    assert not runner.run_folder.exists()


def test_killed_at_random_moments(runner) -> None:
    write_rows(runner.folder / "in.jsonl", rows(400))
    runner.done("in.jsonl")
    whole = runner.output.read_bytes()
    runner.output.unlink()
    killing(runner, whole, kills=4, seed=5, patch="jobs_patches:early_output_and_count")
    assert told(runner) == "taken"


def test_processes_hand_in_parts_in_any_order(runner, whole) -> None:
    runner.done("in.jsonl", "--devices", "2", "--device", "cpu", patch="jobs_patches:early_output")
    assert told(runner) == "taken"
    assert runner.output.read_bytes() == whole


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_leaves_nothing_of_it(runner, whole, how) -> None:
    process = runner.interrupted("in.jsonl", how=how, patch="jobs_patches:early_output_and_hold")
    assert process.wait() == 128 + how
    assert not list(runner.run_folder.glob(".*.tmp"))
    runner.done("in.jsonl", patch="jobs_patches:early_output")
    assert told(runner) == "taken"
    assert runner.summary()["resumed_shards"] == 3
    assert runner.output.read_bytes() == whole


def test_a_kept_column_that_changes_its_type_is_written_in_the_end(runner) -> None:
    examples = [{**row, "n": number if number < 100 else "many"} for number, row in enumerate(rows(200))]
    write_rows(runner.folder / "in.jsonl", examples)
    runner.done("in.jsonl", "--keep", "n")
    late = runner.output.read_bytes()
    runner.done("in.jsonl", "--keep", "n", "--keep-run", patch="jobs_patches:early_output")
    assert told(runner) == "given up"
    assert runner.output.read_bytes() == late
    assert pq.read_table(runner.output, columns=["n"])["n"].to_pylist()[98:102] == ["98", "99", "many", "many"]
    (given_up,) = events(runner, "the output is written when all parts are there")
    assert given_up["reason"] == "a kept column has wider types than in earlier parts"
    assert not list(runner.run_folder.glob(".*.tmp"))


def test_a_part_that_is_damaged_after_it_was_written_does_no_harm(runner, whole) -> None:
    process = runner.held("in.jsonl", shards=2, patch="jobs_patches:early_output_and_hold")
    process.wait_for(lambda: list(runner.run_folder.glob(".final.*.tmp")))
    flip_byte(runner.run_folder / "parts" / "part-00000.parquet")
    assert process.go_on() == 0
    assert runner.output.read_bytes() == whole


def test_an_output_without_room_says_so(runner, whole) -> None:
    process = runner.run("in.jsonl", patch="jobs_patches:early_output_on_a_full_disk")
    assert told(runner) == "given up"
    assert process.wait() == 9
    assert process.error == (
        "Error: answers.parquet: cannot be written: the disk is full; free some space and start the same command "
        "again\n"
    )
    runner.done("in.jsonl", patch="jobs_patches:early_output")
    assert runner.summary()["resumed_shards"] == 10
    assert runner.output.read_bytes() == whole


def test_a_part_that_is_damaged_before_it_is_read_is_made_again(runner, whole) -> None:
    process = runner.run("in.jsonl", patch="jobs_patches:early_output_of_a_damaged_part")
    assert process.wait() != 0
    assert told(runner) == "given up"
    assert not runner.output.exists()
    runner.done("in.jsonl", patch="jobs_patches:early_output")
    assert runner.output.read_bytes() == whole


def test_with_little_room_it_is_given_up(runner, whole) -> None:
    runner.done("in.jsonl", patch="jobs_patches:early_output_with_little_room")
    assert told(runner) == "given up"
    assert runner.output.read_bytes() == whole


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("answers.jsonl", ()),
        ("answers", ()),
        ("-", ()),
        ("answers.parquet", ("--question", "Who?", "--best-per", "question")),
    ],
)
def test_others_are_written_in_the_end(runner, output, words) -> None:
    runner.done("in.jsonl", *words, output=output, patch="jobs_patches:early_output")
    assert not (runner.folder / "early").exists()


def test_nothing_to_write(runner) -> None:
    (runner.folder / "in.jsonl").write_text("")
    runner.done("in.jsonl")
    late = runner.output.read_bytes()
    runner.done("in.jsonl", patch="jobs_patches:early_output")
    assert told(runner) == "given up"
    assert runner.output.read_bytes() == late


class Kept:
    """An output that keeps its tables."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.is_discarded = False

    def write(self, table: pa.Table) -> None:
        self.rows += table["row"].to_pylist()

    def discard(self) -> None:
        self.is_discarded = True


def table(index: int) -> pa.Table:
    return pa.table({"row": [2 * index, 2 * index + 1]})


@given(order=st.permutations(range(7)))
def test_parts_are_written_in_their_order(order) -> None:
    kept = Kept()
    with EarlyOutput(table, lambda _: kept, folder=Path()) as early:
        for index in order:
            early.committed(index)
        assert early.take(7, check=lambda: None) is kept
    assert kept.rows == list(range(14))
    assert early.rows == 14
    assert not kept.is_discarded


def test_with_a_part_missing_it_is_given_up() -> None:
    kept = Kept()
    with EarlyOutput(table, lambda _: kept, folder=Path()) as early:
        for index in (0, 1, 3):
            early.committed(index)
        assert early.take(4, check=lambda: None) is None
    assert kept.is_discarded


@pytest.mark.parametrize("patience", [20, 0.1])
def test_whoever_waits_can_be_stopped(monkeypatch, patience: float) -> None:
    """Also while a part takes longer to read than leaving waits for it."""
    monkeypatch.setattr("qatool.extraction.runs.earlyoutput._LEAVE_S", patience)
    begun, going_on = threading.Event(), threading.Event()
    kept = Kept()

    def slow(index: int) -> pa.Table:
        if index == 1:
            begun.set()
            going_on.wait(20)
        return table(index)

    def stop() -> None:
        begun.wait(20)
        if patience == 20:
            going_on.set()
        raise Interrupted("stopped")

    with EarlyOutput(slow, lambda _: kept, folder=Path()) as early:
        early.committed(0)
        early.committed(1)
        with pytest.raises(Interrupted):
            early.take(2, check=stop)
    assert kept.is_discarded == (patience == 20)
    going_on.set()
    early._thread.join()
    assert kept.is_discarded
    assert kept.rows == [0, 1]


def test_what_cannot_be_begun_is_left_to_the_end() -> None:
    def begin(_schema: pa.Schema) -> None:
        raise OutputError("no")

    with EarlyOutput(table, begin, folder=Path()) as early:
        early.committed(0)
        assert early.take(1, check=lambda: None) is None
