"""Processes over a stream: what is large and under way does not keep a stop waiting."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from qatool.errors import EnvironmentUnfitError
from qatool.jobs.workers import processes
from qatool.jobs.workers.inorder import in_order


@pytest.mark.parametrize(
    ("groups", "quotas", "cores"),
    [
        ("", {}, 8),
        ("0::/", {"cpu.max": "max 100000"}, 8),
        ("0::/", {"cpu.max": "300000 100000"}, 3),
        ("0::/a/b", {"a/cpu.max": "250000 100000", "a/b/cpu.max": "max 100000"}, 2),
        ("0::/not/mounted/here", {"cpu.max": "50000 100000"}, 1),
        ("0::/", {"cpu.max": "1600000 100000"}, 8),
        ("0::/", {"cpu.max": "what?"}, 8),
        ("3:cpu,cpuacct:/", {"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 8),
        ("1:cpu:/x\n9:name=y:/", {"cpu/x/cpu.cfs_quota_us": "400000", "cpu/x/cpu.cfs_period_us": "100000"}, 4),
        ("3:cpuset:/", {"cpu.max": "100000 100000", "cpuset/cpu.max": "100000 100000"}, 8),
    ],
)
def test_cores_of_a_container(tmp_path, monkeypatch, groups, quotas, cores) -> None:
    for name, text in quotas.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    (tmp_path / "own").write_text(f"{groups}\n" if groups else "")
    monkeypatch.setattr(processes, "_ALL_GROUPS", tmp_path)
    monkeypatch.setattr(processes, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert processes.usable_cores() == cores


def test_cores_and_memory_of_a_mac(tmp_path, monkeypatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 10)
    monkeypatch.setattr(processes, "_OWN_GROUPS", tmp_path / "none")
    assert processes.usable_cores() == 10
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert processes.usable_cores() == 1
    here = processes.peak_memory_bytes()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert here / 1100 < processes.peak_memory_bytes() < here / 900


class StopNowError(Exception):
    """Stands for a signal."""


@pytest.mark.timeout(60)
def test_a_stop_does_not_wait_for_an_item_on_its_way() -> None:
    began = time.monotonic()

    def check() -> None:
        # By then both processes sleep, and the next item is larger than what a pipe holds.
        if time.monotonic() > began + 4:
            raise StopNowError

    items = ((30.0, b"x" * 4_000_000) for _ in range(100))
    with pytest.raises(StopNowError):
        list(in_order(slow, items, workers=2, check=check, preload=["time"]))
    assert time.monotonic() - began < 20


def slow(item: tuple[float, bytes]) -> int:
    seconds, load = item
    time.sleep(seconds)
    return len(load)


@pytest.mark.timeout(60)
def test_a_process_killed_while_it_answers_is_told_of() -> None:
    items = [0.0, 0.5]
    with pytest.raises(EnvironmentUnfitError, match="a worker process died"):
        list(in_order(die_answering, items, workers=2, check=lambda: None, preload=["time"]))


def die_answering(after: float) -> bytes:
    """Return more than a pipe holds, and be killed while that is written."""
    threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGKILL]).start()
    time.sleep(after)
    return bytes(200_000_000)


def test_results_come_in_the_order_of_the_items() -> None:
    waits = [0.3, 0.0, 0.1, 0.0, 0.2, 0.0, 0.0]
    found = in_order(slow, [(wait, b"x" * size) for size, wait in enumerate(waits)], workers=2, check=lambda: None)
    assert list(found) == list(range(len(waits)))


def test_what_a_task_raises_is_raised_in_its_place() -> None:
    found = in_order(inverse, [2, 1, 0, 4], workers=2, check=lambda: None)
    assert next(found) == 0.5
    assert next(found) == 1
    with pytest.raises(ZeroDivisionError):
        next(found)


def inverse(number: int) -> float:
    return 1 / number


def test_a_script_is_told_that_processes_read_it_again(tmp_path) -> None:
    """Without the guard each of them would start the work once more, and end."""
    script = tmp_path / "mine.py"
    text = "from test_jobs_processes import die_at_once\nfrom qatool.jobs.workers.inorder import in_order\n"
    script.write_text(text + "list(in_order(die_at_once, [1, 2], workers=2, check=lambda: None))\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, timeout=50)
    assert "If mine.py calls qatool outside of `if __name__ == '__main__':`, put the call there" in done.stderr


def die_at_once(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
