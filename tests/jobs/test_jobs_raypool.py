"""A pool of Ray's actors without Ray: the actors live in this process, and what Ray would raise is raised here."""

from __future__ import annotations

import itertools
import pickle
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from pooltools import Numbered, NumberJob, NumberWorkerFactory, run_numbers

from qatool.errors import EnvironmentUnfitError
from qatool.jobs.workers import raypool
from qatool.jobs.workers.raypool import ClusterOptions, RayWorkerPool

REASON = "RuntimeError: The actor could not deserialize its task"


class RayError(Exception):
    pass


class RayTaskError(RayError):
    pass


class FakeRay:
    """As much of Ray as a pool uses; answers are ready at once, and go through pickle as Ray's do.

    :param failing: index of a task that no actor can unpickle
    """

    def __init__(self, failing: int | None = None) -> None:
        self.exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)
        self._failing = failing
        self._numbers = itertools.count()
        self._answers: dict[int, Any] = {}
        self.killed: list[Any] = []

    def is_initialized(self) -> bool:
        return True

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 8.0}

    def nodes(self) -> list[dict[str, Any]]:
        return [{"NodeID": "node", "Alive": True, "Resources": self.cluster_resources()}]

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(get_node_id=lambda: "node")

    def put(self, value: Any) -> Any:
        return value

    def kill(self, actor: Any) -> None:
        self.killed.append(actor)

    def remote(self, **_: Any) -> Any:
        return lambda kind: SimpleNamespace(remote=lambda: self._actor(kind()))

    def wait(self, refs: list[int], *, num_returns: int, timeout: float) -> tuple[list[int], list[int]]:
        return refs[:num_returns], refs[num_returns:]

    def get(self, ref: int) -> Any:
        try:
            return pickle.loads(self._answers.pop(ref)())
        except Exception as error:  # noqa: BLE001 (as in Ray)
            raise RayTaskError(f"ray::_Actor\n{type(error).__name__}: {error}") from None

    def _actor(self, made: Any) -> Any:
        def remotely(method: Any) -> Any:
            return SimpleNamespace(remote=lambda *given: self._ask(method, given))

        return SimpleNamespace(begin=remotely(made.begin), do=remotely(made.do))

    def _ask(self, method: Any, given: tuple[Any, ...]) -> int:
        def answer() -> bytes:
            if given == (Numbered(self._failing),):
                raise RuntimeError("The actor could not deserialize its task")
            return pickle.dumps(method(*given))

        number = next(self._numbers)
        self._answers[number] = answer
        return number


@pytest.fixture
def pool(tmp_path, monkeypatch):
    """Makes a pool of so many workers, which another Ray has."""

    def make(workers: int, *, failing: int | None = None) -> RayWorkerPool[Numbered]:
        ray = FakeRay(failing)
        monkeypatch.setattr(raypool, "import_ray", lambda: ray)
        monkeypatch.setattr(raypool, "log_through", lambda _: None)
        monkeypatch.setitem(sys.modules, "ray", ray)
        return RayWorkerPool(NumberWorkerFactory(tmp_path), ClusterOptions(workers=workers))

    return make


@pytest.mark.timeout(60)
def test_a_task_that_fails_in_ray_is_given_up_and_the_rest_is_done(pool) -> None:
    job = NumberJob(20)
    with pytest.raises(EnvironmentUnfitError) as raised:
        run_numbers(job, pool(4, failing=3))
    assert sorted(job.written) == [unit for unit in range(20) if unit != 3]
    told = f"{REASON}; is qatool installed on every node, in the same version?"
    assert raised.value.problems == (f"unit 3: its worker was lost 3 times (the last time: {told})",)


@pytest.mark.timeout(60)
def test_a_task_that_fails_in_ray_wherever_it_is_tried_ends_the_run(pool) -> None:
    job = NumberJob(20)
    with pytest.raises(EnvironmentUnfitError, match=f"no worker can be had: node: {REASON}; is qatool installed"):
        run_numbers(job, pool(2, failing=3))
    assert 3 not in job.written


@pytest.mark.timeout(60)
def test_what_shared_a_worker_with_a_task_that_fails_in_ray_is_done_by_another(pool) -> None:
    job = NumberJob(2, skip=True)
    run_numbers(job, pool(4, failing=1))
    assert sorted(job.written) == [-1, 0]


@pytest.mark.timeout(60)
def test_a_part_that_cannot_be_sent_is_told(pool, tmp_path) -> None:
    (tmp_path / "unsendable-3").touch()
    with pytest.raises(RuntimeError, match=r"type TaskOutcome cannot be sent to another process: .*pickle"):
        run_numbers(NumberJob(20), pool(2))
