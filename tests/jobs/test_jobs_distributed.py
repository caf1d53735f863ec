"""Many workers, each a process: what comes back, what is lost, and what is given up."""

from __future__ import annotations

import os
import pickle
import re
import threading
import time
import traceback
from collections import Counter

import pytest
from pooltools import NumberJob, NumberWorkerFactory, begun, run_numbers

from qatool.errors import EnvironmentUnfitError, InputError, Interrupted, OutOfTime
from qatool.jobs.stopping import Stop
from qatool.jobs.workers.pool import DEFAULT_SLOTS, Assignments, Failure, Returned, pickled
from qatool.jobs.workers.processpool import ProcessWorkerPool


def pool(folder, *, workers: int = 2, **more) -> ProcessWorkerPool:
    places = [f"place {number}" for number in range(workers)]
    return ProcessWorkerPool(NumberWorkerFactory(folder, **more), places, preload=["jobs_preload"])


def test_every_unit_comes_back_once(tmp_path) -> None:
    job = NumberJob(60)
    held = tmp_path / "hold"
    held.touch()  # until both have begun: one alone might do it all before the other is ready

    def let_go() -> None:
        end = time.monotonic() + 60
        while len({pid for _, pid in begun(tmp_path)}) < 2 and time.monotonic() < end:
            time.sleep(0.01)
        held.unlink()

    watcher = threading.Thread(target=let_go)
    watcher.start()
    totals = run_numbers(job, pool(tmp_path))
    watcher.join()
    assert sorted(job.written) == list(range(60))
    assert (totals.units, totals.counts["examples"], totals.resumed_units) == (60, 60, 0)
    assert totals.ticked == 600
    assert len({pid for _, pid in begun(tmp_path)}) == 2
    assert os.getpid() not in {pid for _, pid in begun(tmp_path)}


def test_what_is_under_way_is_bounded(tmp_path) -> None:
    job = NumberJob(60)
    run_numbers(job, pool(tmp_path, seconds=0.01))
    # Two that each worker holds, one to be handed out and the one that is read ahead.
    assert job.most_out <= 2 * 2 + 3


def test_units_done_before_are_not_done_again(tmp_path) -> None:
    job = NumberJob(12, done_before=frozenset({0, 1, 5, 11}))
    totals = run_numbers(job, pool(tmp_path))
    assert sorted(job.written) == [2, 3, 4, 6, 7, 8, 9, 10]
    assert (totals.units, totals.resumed_units) == (12, 4)


def test_parts_in_order_where_that_is_asked_for(tmp_path) -> None:
    (tmp_path / "kill-0").write_text("2")
    job = NumberJob(60)
    run_numbers(job, pool(tmp_path), in_order=True)
    assert job.written == list(range(60))


def test_parts_in_order_where_some_were_done_before(tmp_path) -> None:
    job = NumberJob(12, done_before=frozenset({0, 1, 5, 11}))
    totals = run_numbers(job, pool(tmp_path), in_order=True)
    assert job.written == [2, 3, 4, 6, 7, 8, 9, 10]
    assert (totals.units, totals.resumed_units) == (12, 4)


def test_a_worker_that_dies_costs_what_it_had_in_hand(tmp_path) -> None:
    (tmp_path / "kill-7").write_text("1")
    job = NumberJob(30)
    run_numbers(job, pool(tmp_path))
    assert sorted(job.written) == list(range(30))
    # The one that takes its place may come too late to be given anything.
    assert len({pid for _, pid in begun(tmp_path)}) in {2, 3}
    times = Counter(unit for unit, _ in begun(tmp_path))
    assert times.pop(7) == 2
    # The other one that it held may have been done, and not told of yet.
    assert sum(times.values()) <= len(times) + DEFAULT_SLOTS - 1


def test_a_unit_that_kills_its_worker_is_given_up_and_the_rest_is_done(tmp_path) -> None:
    for unit in (3, 4):
        (tmp_path / f"kill-{unit}").write_text("9")
    job = NumberJob(20)
    with pytest.raises(EnvironmentUnfitError) as raised:
        run_numbers(job, pool(tmp_path))
    assert sorted(job.written) == [unit for unit in range(20) if unit not in {3, 4}]
    assert sorted(raised.value.problems) == [
        f"unit {unit}: its worker was lost 3 times (the last time: its process was ended by SIGKILL, as when memory "
        "runs out)"
        for unit in (3, 4)
    ]
    assert Counter(unit for unit, _ in begun(tmp_path))[3] <= 3


def test_a_unit_that_is_given_up_may_be_stood_in_for(tmp_path) -> None:
    (tmp_path / "kill-3").write_text("9")
    job = NumberJob(8, skip=True)
    assert run_numbers(job, pool(tmp_path)).units == 8
    assert sorted(job.written) == [-3, 0, 1, 2, 4, 5, 6, 7]


def test_neighbours_of_a_deadly_unit_are_not_blamed(tmp_path) -> None:
    """With one worker every unit shares a hand with the next one; only the deadly ones are given up."""
    deadly = [0, 1, 4, 5, 9]
    for unit in deadly:
        (tmp_path / f"kill-{unit}").write_text("9")
    job = NumberJob(10, skip=True)
    run_numbers(job, pool(tmp_path, workers=1))
    assert sorted(job.written) == sorted(-unit if unit in deadly else unit for unit in range(10))


def test_what_stands_before_an_input_that_breaks_off_is_done(tmp_path) -> None:
    job = NumberJob(9, fails_after=InputError("row 10: bad"))
    with pytest.raises(InputError, match="row 10: bad"):
        run_numbers(job, pool(tmp_path, seconds=0.05))
    assert sorted(job.written) == list(range(9))


def test_an_error_in_a_worker_ends_the_run_and_says_where(tmp_path) -> None:
    (tmp_path / "raise-4").write_text("no such thing")
    with pytest.raises(ValueError, match="no such thing") as raised:
        run_numbers(NumberJob(20), pool(tmp_path))
    assert "pooltools.py" in raised.value.__notes__[0]


@pytest.mark.timeout(60)
def test_a_part_that_cannot_be_sent_is_told(tmp_path) -> None:
    (tmp_path / "unsendable-4").touch()
    with pytest.raises(RuntimeError, match=r"type TaskOutcome cannot be sent to another process: .*pickle"):
        run_numbers(NumberJob(20), pool(tmp_path))


class TwoError(Exception):
    """Takes other arguments than it keeps."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first + second)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("no"), "ValueError: no"),
        (TwoError("a", "b"), r"RuntimeError: TwoError\('ab'\) cannot be sent .*missing 1 required"),
        (ValueError(threading.Lock()), r"RuntimeError: ValueError\(.*\) cannot be sent .*cannot pickle"),
    ],
)
def test_an_error_of_a_worker_can_always_be_sent(error, told) -> None:
    sent = pickle.loads(pickled(Failure.of(error), lambda result: Returned(7, result)))
    assert sent.index == 7
    assert re.fullmatch(f"{told}.*", "".join(traceback.format_exception_only(sent.result.error)).splitlines()[0])
    assert sent.result.error.__notes__ == error.__notes__


def test_a_result_that_needs_too_much_memory_to_be_sent_is_told_as_that() -> None:
    class Large:
        def __reduce__(self):
            raise MemoryError

    assert isinstance(pickle.loads(pickled(Large())).error, MemoryError)


def test_workers_that_cannot_be_made(tmp_path) -> None:
    (tmp_path / "broken").touch()
    with pytest.raises(EnvironmentUnfitError, match="the model does not load"):
        run_numbers(NumberJob(2), pool(tmp_path))


def test_workers_that_die_before_they_are_ready(tmp_path) -> None:
    (tmp_path / "deadly").touch()
    with pytest.raises(EnvironmentUnfitError, match=r"no worker can be had: place .*died 3 times.*SIGKILL"):
        run_numbers(NumberJob(2), pool(tmp_path))


def test_a_worker_unlike_the_others_is_left_out(tmp_path, caplog) -> None:
    job = NumberJob(12)
    run_numbers(job, pool(tmp_path, unlike=True, seconds=0.05))
    assert sorted(job.written) == list(range(12))
    assert len({pid for _, pid in begun(tmp_path)}) == 1


def test_a_stop_is_heard_while_workers_are_busy(tmp_path) -> None:
    (tmp_path / "hold").touch()

    class Stopping(Stop):
        def check(self, *, may_run_out: bool = True) -> None:
            if begun(tmp_path):
                raise Interrupted("now")

    began = time.monotonic()
    with pytest.raises(Interrupted):
        run_numbers(NumberJob(100), pool(tmp_path), stop=Stopping())
    assert time.monotonic() - began < 60
    _no_longer(begun(tmp_path)[0][1])


def test_a_time_limit_leaves_one_unit_at_least(tmp_path) -> None:
    job = NumberJob(50)
    with pytest.raises(OutOfTime):
        run_numbers(job, pool(tmp_path), stop=Stop(max_duration=0.0, label="0s"))
    assert 1 <= len(job.written) <= 8


def test_who_gets_a_task() -> None:
    assignments: Assignments[str] = Assignments(lambda first, other: None)
    assert assignments.assign(0, alone=False) is None
    assignments.join("a", 1)
    assignments.join("b", 1)
    assert [assignments.assign(index, alone=False) for index in range(5)] == ["a", "b", "a", "b", None]
    assert assignments.assign(5, alone=True) is None
    assignments.release("b", 1)
    assignments.release("b", 3)
    assert assignments.assign(5, alone=True) == "b"
    assert assignments.assign(6, alone=False) is None
    assignments.release("b", 5)
    assert assignments.assign(6, alone=False) == "b"
    assert assignments.leave("a") == (0, 2)
    assert len(assignments) == 1


def test_who_has_more_hands_gets_more_tasks() -> None:
    assignments: Assignments[str] = Assignments(lambda first, other: None)
    assignments.join("a", 1, slots=4)
    assignments.join("b", 1)
    assert [assignments.assign(index, alone=False) for index in range(7)] == ["a", "b", "a", "b", "a", "a", None]


def _no_longer(pid: int) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError(f"process {pid} is still there")
