"""The lock that is an object, on fsspec's store in memory."""

from __future__ import annotations

import json
import os
import time

import pytest

from qatool.errors import LockedError, OutputError
from qatool.files.storage.locations import location
from qatool.files.storage.objects import ObjectPath
from qatool.files.storage.objectstat import ObjectStat
from qatool.jobs.runfolder.objectlock import ObjectLock


@pytest.fixture
def path(monkeypatch):
    """Where a lock goes; no owner's process is known here."""
    import fsspec

    fsspec.filesystem("memory").store.clear()
    monkeypatch.setattr("qatool.jobs.runfolder.lock._process_table", lambda: os.urandom(4).hex())
    monkeypatch.setattr("qatool.jobs.runfolder.objectlock._SETTLE_S", 0.01)
    yield location("memory://lake/run/lock")
    fsspec.filesystem("memory").store.clear()


def age(monkeypatch, seconds: float) -> None:
    """Have the lock look that much older than anything put from now on."""
    plain, limit = ObjectPath.stat, time.time()

    def stat(self) -> ObjectStat:
        told = plain(self)
        return told._replace(st_mtime=told.st_mtime - seconds) if told.st_mtime < limit else told

    monkeypatch.setattr(ObjectPath, "stat", stat)


def test_it_is_held_and_goes(path) -> None:
    with ObjectLock(path) as lock:
        lock.check()
        assert lock.is_held()
        assert lock.owner()["pid"] == os.getpid()
        with (
            pytest.raises(LockedError, match=f"another run is at work \\(process {os.getpid()} on"),
            ObjectLock(path),
        ):
            pass
        lock.check()
    assert not path.exists()
    assert not lock.is_held()


@pytest.mark.parametrize(("seconds", "is_stale"), [(500, False), (700, True)])
def test_a_stale_one_is_taken_over(path, monkeypatch, seconds, is_stale) -> None:
    old, new = ObjectLock(path), ObjectLock(path)
    with old:
        age(monkeypatch, seconds)
        if not is_stale:
            with pytest.raises(LockedError, match="another run is at work"), new:
                pass
            return
        with new:
            new.check()
            with pytest.raises(LockedError, match="another took over; nothing more is written"):
                old.check()
        assert [found.name for found, _ in path.parent.walk()] == []


def test_one_whose_owner_is_known_to_be_dead_is_taken_over(path, monkeypatch) -> None:
    monkeypatch.setattr("qatool.jobs.runfolder.lock._process_table", lambda: "the same")
    owner = {"pid": 2**22 + 1, "host": "here", "since": "then", "token": "t", "processes": "the same"}
    path.write_bytes(json.dumps(owner).encode())
    with ObjectLock(path) as lock:
        lock.check()


def test_the_heart_beats(path, monkeypatch) -> None:
    monkeypatch.setattr("qatool.jobs.runfolder.objectlock.HEARTBEAT_S", 0.02)
    with ObjectLock(path):
        before = path.stat().st_mtime
        end = time.monotonic() + 20
        while path.stat().st_mtime == before:
            assert time.monotonic() < end
            time.sleep(0.01)


def test_a_put_that_got_through_and_was_refused_when_tried_again(path, monkeypatch) -> None:
    plain = ObjectPath.create

    def create(self, data: bytes) -> bool:
        assert plain(self, data)
        return plain(self, data)

    monkeypatch.setattr(ObjectPath, "create", create)
    with ObjectLock(path) as lock:
        lock.check()


def test_a_run_folder_that_was_removed(path) -> None:
    with ObjectLock(path) as lock:
        path.unlink()
        with pytest.raises(
            OutputError, match="memory://lake/run: the run folder was removed while the run was under way"
        ):
            lock.check()


def test_a_store_that_does_not_answer_is_not_taken_for_another_owner(path, monkeypatch) -> None:
    def fail(self):
        raise OSError(5, "no answer")

    with ObjectLock(path) as lock:
        monkeypatch.setattr(ObjectPath, "read_bytes", fail)
        assert not lock.is_ours()
        with pytest.raises(OutputError, match="cannot be written: no answer; start the same command again"):
            lock.check()
        monkeypatch.undo()
