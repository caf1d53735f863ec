"""The pieces jobs are made of, one by one."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qatool.errors import (
    EnvironmentUnfitError,
    InputError,
    Interrupted,
    LockedError,
    OutOfTime,
    OutputError,
    ResumeRefusedError,
    Terminated,
    failure_behind,
)
from qatool.extraction.answering.previous import PreviousAnswers
from qatool.extraction.runs.state import read_state
from qatool.jobs.prefetch import prefetched, prefetched_or_none
from qatool.jobs.runfolder.claim import locked_folder
from qatool.jobs.runfolder.folder import RunFolder
from qatool.jobs.runfolder.lock import Lock, is_held
from qatool.jobs.runfolder.plan import Plan
from qatool.jobs.runfolder.seal import sealed, unsealed
from qatool.jobs.stopping import Stop
from qatool.jobs.work import Part


def test_ahead_is_no_further_ahead_than_told() -> None:
    begun = []

    def items():
        for number in range(6):
            begun.append(number)
            yield number

    with prefetched(items(), depth=1) as ready:
        for number in ready:
            time.sleep(0.03)
            assert len(begun) <= number + 2
    assert begun == list(range(6))


def test_ahead_hands_over_errors_in_their_place() -> None:
    def items():
        yield 1
        raise KeyError("gone")

    with prefetched(items()) as ready:
        assert next(ready) == 1
        with pytest.raises(KeyError, match="gone"):
            next(ready)


def test_a_consumer_that_would_wait_is_told_so() -> None:
    go_on = threading.Event()

    def items():
        yield 1
        assert go_on.wait(30)
        yield 2
        raise KeyError("gone")

    with prefetched_or_none(items()) as ready:
        assert next(one for one in ready if one is not None) == 1
        assert next(ready) is None
        go_on.set()
        assert next(one for one in ready if one is not None) == 2
        with pytest.raises(KeyError, match="gone"):
            list(ready)


def test_a_consumer_that_waits_looks_up() -> None:
    looked_up = threading.Event()

    def poll() -> None:
        looked_up.set()
        raise Interrupted("now")

    def items():
        assert looked_up.wait(30), "nobody looked up"
        yield 1

    with pytest.raises(Interrupted), prefetched(items(), poll=poll) as ready:
        next(ready)


def test_leaving_ahead_ends_its_thread() -> None:
    def items():
        while True:
            yield 1

    before = threading.active_count()
    with prefetched(items()) as ready:
        next(ready)
    assert threading.active_count() == before


@pytest.fixture
def no_flock(monkeypatch):
    def flock(_file, _how):
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(fcntl, "flock", flock)
    # Owners in this very process must not be known to be alive or dead.
    monkeypatch.setattr("qatool.jobs.runfolder.lock._process_table", lambda: os.urandom(4).hex())


@pytest.mark.parametrize("age", [0, 599, -599])
def test_a_heartbeat_lock_is_held(tmp_path, no_flock, age) -> None:
    lock = Lock(tmp_path / "run" / "lock")
    with lock:
        touched = time.time() - age
        os.utime(lock.path, (touched, touched))
        assert is_held(lock.path)
        with (
            pytest.raises(LockedError, match=rf"another run is at work \(process {os.getpid()} on "),
            Lock(lock.path),
        ):
            pass
        lock.check()
    assert not lock.path.exists()


@pytest.mark.parametrize("age", [601, -601])
def test_a_stale_heartbeat_lock_is_taken_over(tmp_path, no_flock, age) -> None:
    old, new = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    with old:
        touched = time.time() - age
        os.utime(old.path, (touched, touched))
        with new:
            new.check()
            with pytest.raises(LockedError, match="was taken for dead and another took over"):
                old.check()
            assert is_held(new.path)
        assert not new.path.exists()
    assert list(tmp_path.iterdir()) == []


def test_the_heart_beats(tmp_path, no_flock, monkeypatch) -> None:
    monkeypatch.setattr("qatool.jobs.runfolder.lock.HEARTBEAT_S", 0.02)
    with Lock(tmp_path / "lock") as lock:
        os.utime(lock.path, (0, 0))
        time.sleep(0.2)
        assert time.time() - lock.path.stat().st_mtime < 5


def test_of_two_that_take_a_stale_lock_at_once_one_stands(tmp_path, no_flock) -> None:
    outcomes = []
    barrier = threading.Barrier(4)

    def take() -> None:
        barrier.wait()
        try:
            with Lock(tmp_path / "lock"):
                outcomes.append(0)
                barrier.wait()
        except LockedError:
            outcomes.append(7)
            barrier.wait()

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [0, 7, 7, 7]


def test_flock_with_a_half_written_owner(tmp_path) -> None:
    with Lock(tmp_path / "lock") as lock:
        owner = lock.path.read_bytes()
        lock.path.write_bytes(owner[:10])
        with pytest.raises(LockedError, match=r"process \? on \?"), Lock(lock.path):
            pass
        lock.path.write_bytes(owner)
        assert is_held(lock.path)
    assert not is_held(lock.path)


def test_a_removed_folder_is_no_take_over(tmp_path) -> None:
    with Lock(tmp_path / "run" / "lock") as lock:
        lock.path.unlink()
        with pytest.raises(OutputError, match="the run folder was removed while the run was under way"):
            lock.check()


def test_stop_by_time() -> None:
    now = [0.0]
    stop = Stop(max_duration=60, label="1m", clock=lambda: now[0])
    stop.check()
    now[0] = 60
    stop.check(may_run_out=False)
    with pytest.raises(OutOfTime, match="--max-duration 1m: is over; the same command continues"):
        stop.check()


@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGINT, Interrupted), (signal.SIGTERM, Terminated), (signal.SIGHUP, Terminated)]
)
def test_stop_by_signal(number, kind) -> None:
    before = signal.getsignal(number)
    stop = Stop()
    with stop.listening():
        os.kill(os.getpid(), number)
        with pytest.raises(kind):
            stop.check()
    assert signal.getsignal(number) is before


def test_a_signal_at_once_passes_code_that_catches_everything() -> None:
    stop = Stop()
    with pytest.raises(Terminated), stop.listening(), stop.at_once(), suppress(Exception):
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_still_counts_at_once_after_an_inner_block() -> None:
    stop, told = Stop(), []
    with suppress(Terminated), stop.listening(), stop.at_once():
        with stop.at_once():
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        told.append("went on")
    assert not told


def test_outside_the_main_thread_nothing_listens() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def run() -> None:
        with Stop().listening():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]


values = st.dictionaries(st.text(), st.one_of(st.integers(), st.text(), st.floats(allow_nan=False), st.none()))


@settings(max_examples=50, deadline=None)
@given(values.filter(lambda body: body and "seal" not in body))
def test_what_is_sealed_comes_back(body) -> None:
    assert unsealed(json.loads(json.dumps(sealed(body)))) == body


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"seal": "x"}', "7", "null", '{"a": 1}'])
def test_a_damaged_plan_is_none(tmp_path, text) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    assert Plan.load(path) is None


def test_plan(tmp_path) -> None:
    plan = Plan(
        identity={"model": "a", "top_k": 1},
        limits={"rows": 5, "threads": 2},
        output="o",
        examples=7,
        command="extract",
    )
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan
    text = (tmp_path / "plan.json").read_text()
    (tmp_path / "plan.json").write_text(text.replace('"rows": 5', '"rows": 6'))
    assert Plan.load(tmp_path / "plan.json") is None
    assert Plan.load(tmp_path / "none" / "plan.json") is None
    (tmp_path / "plan.json").write_text(json.dumps(sealed(asdict(plan) | {"later": 1})))
    assert Plan.load(tmp_path / "plan.json") == plan
    (tmp_path / "plan.json").write_text(json.dumps(sealed({"identity": {}, "limits": {}, "command": "extract"})))
    assert Plan.load(tmp_path / "plan.json") == Plan(identity={}, limits={}, command="extract")
    plan.check_same_work({"model": "a", "top_k": 1}, folder=tmp_path)
    with pytest.raises(ResumeRefusedError, match=r"\(new was None and is now 3; top_k was 1 and is now 2\)"):
        plan.check_same_work({"model": "a", "top_k": 2, "new": 3}, folder=tmp_path)
    assert plan.overridden({"rows": 6, "threads": 2}) == ["rows 5 -> 6"]


def test_a_plan_that_cannot_be_read_now_is_not_none(monkeypatch, tmp_path) -> None:
    def failing(_path: Path) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", failing)
    with pytest.raises(InputError, match=r"plan.json: cannot be read \(Input/output error\); start the same command"):
        Plan.load(tmp_path / "plan.json")


def test_a_folder_that_may_not_be_listed_is_told_of(monkeypatch, tmp_path) -> None:
    (tmp_path / "x.qatool").mkdir()

    def refusing(*_: object) -> None:
        raise PermissionError(errno.EACCES, "403 Forbidden")

    monkeypatch.setattr("qatool.extraction.runs.state.matching", refusing)
    with pytest.raises(InputError, match=r"x\.qatool: "):
        read_state(tmp_path / "x.qatool")


class _Unit:
    index = 0
    content_hash = "c"


def test_a_part_comes_before_its_marker_and_both_are_synced(tmp_path, monkeypatch) -> None:
    done = []
    fsync, rename = os.fsync, type(tmp_path).replace
    monkeypatch.setattr(os, "fsync", lambda file: (done.append(f"sync {_name(file)}"), fsync(file)))
    monkeypatch.setattr(
        type(tmp_path), "replace", lambda self, to: (done.append(f"rename {to.name}"), rename(self, to))[1]
    )
    with RunFolder(tmp_path / "run") as folder:
        done.clear()
        folder.parts.commit(_Unit(), Part(table=pa.table({"a": [1]}), counts={}))
        assert done == [
            "sync part-00000.parquet",
            "rename part-00000.parquet",
            "sync part-00000.json",
            "rename part-00000.json",
        ]
        assert folder.parts.finished(_Unit()) is not None


def test_a_marker_is_read_by_other_versions_and_theirs_here(tmp_path) -> None:
    with RunFolder(tmp_path / "run") as folder:
        folder.parts.commit(_Unit(), Part(table=pa.table({"a": [1]}), counts={"examples": 1}))
        path = folder.parts.marker(0)
        body = unsealed(json.loads(path.read_text()))
        assert body["seconds"] == 0  # without it, the first version to read this would take the marker for damaged
        assert body.keys() == {"identity", "content_hash", "part_hash", "counts", "rejects", "seconds"}
        whole = folder.parts.finished(_Unit())
        assert whole is not None
        for other in ({**body, "seconds": 7.25, "later": 1}, {k: v for k, v in body.items() if k != "seconds"}):
            path.write_text(json.dumps(sealed(other)))
            assert folder.parts.finished(_Unit()) == whole
        for lost in ("part_hash", "counts"):
            path.write_text(json.dumps(sealed({name: value for name, value in body.items() if name != lost})))
            assert folder.parts.finished(_Unit()) is None


def _name(file: int) -> str:
    name = os.path.basename(os.readlink(f"/proc/self/fd/{file}"))  # noqa: PTH115, PTH119
    return name[1:].rsplit(".", 2)[0] if name.startswith(".") else name


def test_an_empty_run_folder_goes_but_not_that_of_another(tmp_path) -> None:
    path = tmp_path / "run"
    with RunFolder(path):
        pass
    assert not path.exists()
    with RunFolder(path) as folder:
        folder.lock.path.write_text('{"token": "another"}')
    assert path.exists()


def test_a_run_folder_that_cannot_be_entered_is_let_go(tmp_path) -> None:
    path = tmp_path / "run"
    path.mkdir()
    (path / "parts").write_text("a file")
    for _ in range(2):
        with pytest.raises(OutputError, match="cannot be written"), RunFolder(path):
            pass
    assert (path / "parts").read_text() == "a file"


def test_what_is_not_a_runs_stays_in_its_folder(tmp_path) -> None:
    path = tmp_path / "run"
    with RunFolder(path):
        (path / "best.ckpt").touch()
    assert (path / "best.ckpt").exists()


@pytest.mark.parametrize(
    ("plan", "owner"),
    [
        (Plan(identity={"a": 1}, limits={"rows": 5}, command="extract"), "extract"),
        (Plan(identity={"a": 1}, limits={}, command="finetune"), "finetune"),
    ],
)
def test_unfinished_work_of_another_command_is_refused(tmp_path, plan, owner) -> None:
    path = tmp_path / "run"
    path.mkdir()
    plan.save(path / "plan.json")
    (path / "lock").write_bytes(b"who was here before")
    for folder in (RunFolder(path, command="mine"), locked_folder(path, command="mine")):
        with (
            pytest.raises(ResumeRefusedError, match=rf"run: holds unfinished work of qatool {owner}; finish that"),
            folder,
        ):
            pass
    assert {one.name: one.read_bytes() for one in path.iterdir()}.keys() == {"plan.json", "lock"}
    assert (path / "lock").read_bytes() == b"who was here before"
    for folder in (RunFolder(path, command=owner), locked_folder(path, command=owner)):
        with folder:
            pass
    assert Plan.load(path / "plan.json") == plan


def test_a_locked_folder_goes_when_nothing_is_in_it(tmp_path) -> None:
    path = tmp_path / "run"
    with pytest.raises(InputError), locked_folder(path, command="mine"):
        raise InputError("no")
    assert not path.exists()
    with locked_folder(path, command="mine"):
        (path / "work").touch()
    assert sorted(one.name for one in path.iterdir()) == ["lock", "work"]
    with locked_folder(path, command="mine") as lock:
        (path / "work").unlink()
        lock.path.write_text('{"token": "another"}')
    assert lock.path.exists()


def test_of_many_that_want_a_folder_that_comes_and_goes_each_gets_it(tmp_path) -> None:
    """A folder that is removed is never one that somebody else has locked."""
    path, inside, turns = tmp_path / "run", [], []

    def take() -> None:
        while len(turns) < 300:
            with suppress(LockedError, OutputError), locked_folder(path, command="mine") as lock:
                inside.append(1)
                lock.check()
                assert len(inside) == 1
                inside.pop()
                turns.append(1)

    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(take) for _ in range(6)]:
            done.result()
    assert not path.exists()


def marks(*numbers: int) -> list[bytes]:
    return [number.to_bytes(16, "little") for number in numbers]


def answers(path, numbers, *, errors=(), first=0):
    table = pa.table(
        {
            "fingerprint": pa.array(marks(*numbers), pa.binary(16)),
            "error": pa.array(["bad" if number in errors else None for number in numbers], pa.string()),
            "answer": [f"{path.stem} {number}" for number in numbers],
        }
    )
    pq.write_table(table, path, row_group_size=3)
    return path


def test_previous_answers(tmp_path) -> None:
    paths = [
        answers(tmp_path / "a.parquet", [5, 1, 9, 2, 7, 3, 1 << 64], errors=[9]),
        answers(tmp_path / "b.parquet", [7, 8]),
    ]
    previous = PreviousAnswers(paths)
    wanted = [8, 9, 1, 4, 7, 5, 1 << 64, 1 << 65]
    found = previous.find([*marks(*wanted), None])
    assert (found >= 0).tolist() == [True, False, True, False, True, True, True, False, False]
    taken = previous.take(found[found >= 0], ["answer"])
    assert taken["answer"].to_pylist() == ["b 8", "a 1", "a 7", "a 5", f"a {1 << 64}"]


@pytest.mark.parametrize("folder", [True, False])
def test_previous_answers_in_any_order(tmp_path, monkeypatch, folder) -> None:
    """Row groups are read three times at most, and the copy that is then made leaves no file behind."""
    monkeypatch.setattr("qatool.extraction.answering.previous.BLOCK_BYTES", 500)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    numbers = list(range(60))
    path = answers(tmp_path / "a.parquet", numbers)
    previous = PreviousAnswers([path], (lambda: tmp_path / "copy") if folder else (lambda: None))
    readings, read = [], pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile,
        "read_row_group",
        lambda file, group, **more: readings.append(group) or read(file, group, **more),
    )
    shuffled = np.random.default_rng(0).permutation(numbers).tolist()
    for first in range(0, 60, 5):
        wanted = shuffled[first : first + 5]
        taken = previous.taken(marks(*wanted), ["answer"])
        assert taken.table["answer"].to_pylist() == [f"a {number}" for number in wanted]
    assert 20 < len(readings) <= 3 * 20 + 5
    for number in numbers:
        previous.taken(marks(number), ["answer"])
    assert len(readings) <= 3 * 20 + 5
    assert list(tmp_path.iterdir()) == [path]


def test_previous_answers_of_nothing(tmp_path) -> None:
    assert PreviousAnswers([]).find(marks(1)).tolist() == [-1]
    assert PreviousAnswers([answers(tmp_path / "a.parquet", [1])]).find([]).tolist() == []


def test_previous_answers_that_cannot_be_read(tmp_path) -> None:
    path = answers(tmp_path / "a.parquet", [1, 2])
    previous = PreviousAnswers([path])
    path.write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"a\.parquet: no answers can be taken from it"):
        PreviousAnswers([path])
    with pytest.raises(InputError, match=r"a\.parquet: has changed while answers were taken from it"):
        previous.take(np.array([0]), ["answer"])


def test_earlier_answers_that_are_replaced_meanwhile_are_not_taken(tmp_path) -> None:
    path = answers(tmp_path / "a.parquet", [1, 2])
    previous = PreviousAnswers([path])
    found = previous.find(marks(1))
    answers(tmp_path / "b.parquet", [3, 1]).replace(path)
    with pytest.raises(
        InputError, match=r"a\.parquet: has changed while answers were taken from it \(it was replaced\)"
    ):
        previous.take(found, ["fingerprint"])


def test_a_stop_hides_behind_what_fails_while_all_ends() -> None:
    def ending() -> None:
        try:
            raise Terminated("terminated; the same command continues")
        finally:
            raise OSError(5, "Input/output error")  # a bar that draws on a terminal that was closed

    with pytest.raises(OSError, match="Input/output error") as raised:
        ending()
    assert isinstance(failure_behind(raised.value), Terminated)
    assert failure_behind(OSError(5, "Input/output error")) is None
    assert isinstance(failure_behind(OSError(28, "No space left on device", "f")), OutputError)
    assert isinstance(failure_behind(MemoryError()), EnvironmentUnfitError)
