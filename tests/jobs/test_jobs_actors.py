"""Processes that keep a state of their own."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import struct
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

import pytest
from support import PROJECT, processes_gone

from qatool.errors import EnvironmentUnfitError, InputError
from qatool.jobs.workers.actors import ProcessActors


def test_processes_come_from_what_was_begun_early() -> None:
    code = (
        "import os\n"
        "from multiprocessing import forkserver\n"
        "from qatool.jobs.workers.forkserver import begin_early\n"
        "from qatool.jobs.workers.actors import ProcessActors\n"
        "if __name__ == '__main__':\n"
        "    begin_early(['wave'])\n"
        "    server = forkserver._forkserver._forkserver_pid\n"
        "    actors = ProcessActors(os.getppid, 1, preload=['wave'])\n"
        "    assert actors.call(0, int).result() == server\n"
        "    actors.close()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PROJECT, timeout=60)


def test_processes_have_what_was_imported_here_of_the_package(tmp_path) -> None:
    """The main module, which is imported again in each, asks for it."""
    script = tmp_path / "main.py"
    script.write_text(
        "import sys\n"
        "def modules(_):\n"
        "    return list(sys.modules)\n"
        "if __name__ == '__main__':\n"
        "    import qatool.cli\n"
        "    from qatool.jobs.workers.actors import ProcessActors\n"
        "    actors = ProcessActors(int, 1, preload=['wave'])\n"
        "    there = actors.call(0, modules).result()\n"
        "    actors.close()\n"
        "    assert {'qatool.cli', 'wave'} <= set(there)\n"
        "    assert 'torch' not in there\n"
    )
    subprocess.run([sys.executable, str(script)], check=True, cwd=PROJECT, timeout=60)


def slept(_: Any) -> None:
    time.sleep(0.5)


def test_the_least_busy_is_the_first_that_has_nothing_to_do() -> None:
    actors = ProcessActors(os.getpid, 3)
    try:
        assert actors.least_busy() == 0
        first = actors.call(0, slept)
        assert actors.least_busy() == 1
        second = actors.call(1, slept)
        actors.call(2, slept)
        assert actors.least_busy() == 0
        first.result()
        second.result()
        assert actors.least_busy() == 0
    finally:
        actors.close()
    assert processes_gone()


def test_a_process_that_is_killed_is_told_of() -> None:
    actors = ProcessActors(os.getpid, 2)
    try:
        pids = [actors.call(number, int).result() for number in range(2)]
        assert pids[0] != pids[1] != os.getpid()
        os.kill(pids[0], signal.SIGKILL)
        with pytest.raises(EnvironmentUnfitError, match=r"a worker process died .*fewer --workers") as caught:
            actors.call(0, time.sleep, 30).result()
        assert caught.value.exit_code == 4
        assert actors.call(1, int).result() == pids[1]
    finally:
        actors.close()
    assert processes_gone()


def half_an_answer(_: Any) -> None:
    """Begin to answer, and die."""
    for pipe in filter(lambda one: isinstance(one, Connection), gc.get_objects()):
        if not pipe.closed and pipe.writable:
            os.write(pipe.fileno(), struct.pack("!i", 1_000) + b"half")
    os.kill(os.getpid(), signal.SIGKILL)


def test_the_rest_of_a_message_is_not_waited_for_when_its_process_is_killed() -> None:
    actors = ProcessActors(os.getpid, 2)
    try:
        with pytest.raises(EnvironmentUnfitError, match="a worker process died"):
            actors.call(0, half_an_answer).result(timeout=60)
        assert actors.call(1, int).result() > 0
    finally:
        actors.close()


def no_state() -> None:
    raise InputError("features: cannot be read")


def test_an_actor_that_cannot_be_made_says_why() -> None:
    actors = ProcessActors(no_state, 1)
    try:
        for _ in range(2):
            with pytest.raises(InputError, match="features: cannot be read"):
                actors.call(0, int).result(timeout=60)
    finally:
        actors.close()


def generator(state: list[Any]) -> Any:
    return (one for one in state)


def test_what_cannot_be_sent_is_told() -> None:
    actors = ProcessActors(list, 1)
    try:
        with pytest.raises((AttributeError, pickle.PicklingError), match=r"pickle|local object"):
            actors.call(0, lambda state: state).result(timeout=60)
        with pytest.raises(RuntimeError, match="pickle"):
            actors.call(0, generator).result(timeout=60)
    finally:
        actors.close()


def test_calls_to_an_actor_are_done_in_their_order() -> None:
    actors = ProcessActors(list, 1)
    try:
        for value in range(20):
            actors.call(0, list.append, value)
        assert actors.call(0, list).result() == list(range(20))
    finally:
        actors.close()
