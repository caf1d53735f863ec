"""A pool of Ray actors, on an existing cluster or on one that ends with the run (extra ``qatool[ray]``)."""

from __future__ import annotations

import logging
import pickle
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Self, TypeVar

from qatool.errors import EnvironmentUnfitError
from qatool.jobs.workers.pool import (
    DEFAULT_SLOTS,
    POLL_S,
    STARTS,
    Assignments,
    BaseWorkerPool,
    Failure,
    Logged,
    Lost,
    Returned,
    TaskRunner,
    leave_out,
    log_through,
    pickled,
)
from qatool.jobs.workers.rayconnection import Connection, import_ray
from qatool.logs import log_event

if TYPE_CHECKING:
    from types import TracebackType

    from qatool.jobs.workers.pool import Event, WorkerFactory

Q = TypeVar("Q")

FOLLOW_S = 5.0
"""How often the size of the pool is adapted to the cluster."""
PATIENCE_S = 30.0
"""How long no worker may be ready before the log says what the run is waiting for."""
_LOGS_KEPT = 100


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """The cluster to use, and the workers to run on it."""

    address: str | None = None
    """Address of a cluster; ``None``: that in the variable ``RAY_ADDRESS``, else one of our own on this machine."""
    cpus: float = 1.0
    """CPUs that Ray reserves for each worker."""
    gpus: float | None = None
    """GPUs that Ray reserves for each worker; ``None``: one where the cluster has any, else none."""
    workers: int | None = None
    """Number of workers; ``None``: as many as fit the cluster, also while it grows or shrinks."""


class _Reply(NamedTuple):
    """The answer of an actor: a result, and the log events since its last answer."""

    result: bytes
    """As :func:`~qatool.jobs.workers.pool.pickled` returns it."""
    logged: list[Logged]


class _Ready(NamedTuple):
    about: Any
    node: str
    """Id of the node, in hex."""


@dataclass(eq=False)
class _Member:
    """An actor, whether its worker is ready or not."""

    actor: Any
    node: str = ""
    pending: set[Any] = field(default_factory=set)
    """References to the answers that the actor has not given yet."""


class RayWorkerPool(BaseWorkerPool["_Member"], Generic[Q]):
    """Actors that hold one worker each.

    Ray is told to restart and retry nothing. Instead, as with every pool, the tasks of a lost worker are reported,
    and another worker is requested: so the engine can count the workers that a unit kills, and give it up.

    :param factory: makes the worker of each actor; the place it is given is ``cuda`` or ``cpu``
    :raises EnvironmentUnfitError: Ray is not installed, the cluster cannot be reached, or the workers do not fit this
        machine, where the cluster is our own
    """

    def __init__(self, factory: WorkerFactory[Q], options: ClusterOptions) -> None:
        self._ray = import_ray()
        self._factory = factory
        self._options = options
        self._members: list[_Member] = []
        self._assignments: Assignments[_Member] = Assignments(factory.difference)
        self._pending: dict[Any, tuple[_Member, int | None]] = {}
        """For each answer to come its actor and the index of the task; ``None``: it is about making the worker."""
        self._connection = Connection(self._ray, options.address)
        self._place = "cpu"
        self._takes: dict[str, float] = {}
        """The amount of each resource that a worker takes."""
        self._actor_class: Any = None
        self._factory_ref: Any = None
        self._false_starts = self._left_out = 0
        self._follow_at = 0.0
        self._waiting_since = time.monotonic()

    def __enter__(self) -> Self:
        try:
            self._connection.open()
            self._prepare()
            self._follow()
        except BaseException:
            self._connection.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection.was_there:  # otherwise the actors end with the connection
            for member in self._members:
                self._ray.kill(member.actor)
        self._pending.clear()
        self._members.clear()
        self._connection.close()

    def give(self, index: int, task: Q, *, alone: bool) -> bool:
        """Hand out a task; see :class:`~qatool.jobs.workers.pool.WorkerPool`."""
        member = self._assignments.assign(index, alone=alone)
        if member is None:
            return False
        self._ask(member, member.actor.do.remote(task), index)
        return True

    def events(self, timeout: float) -> list[Event]:
        """Return the events since the last call; see :class:`~qatool.jobs.workers.pool.WorkerPool`."""
        self._follow()
        if not self._pending:
            time.sleep(min(timeout, POLL_S))
            return []
        ready, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=timeout)
        if ready:
            everything = list(self._pending)
            ready, _ = self._ray.wait(everything, num_returns=len(everything), timeout=0)
        return [event for ref in ready for event in self._answered(ref)]

    def _ask(self, member: _Member, ref: Any, index: int | None) -> None:
        member.pending.add(ref)
        self._pending[ref] = member, index

    def _answered(self, ref: Any) -> list[Event]:
        member, index = self._pending.pop(ref, (None, None))
        if member is None:
            return []  # an answer of a worker that was found dead a moment ago
        member.pending.discard(ref)
        try:
            reply: _Reply = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            # Errors of the worker come back as results, so this one is from Ray or from a node without our code.
            reason = str(error).strip().rpartition("\n")[2]
            return self._leave_out(member, f"{reason}; is qatool installed on every node, in the same version?")
        except self._ray.exceptions.RayError as error:
            return self._died(member, error)
        for logged in reply.logged:
            logged.log(member.node)
        result = pickle.loads(reply.result)  # noqa: S301 (of our own actor)
        if index is None:
            self._joins(member, result)
            return []
        self._assignments.release(member, index)
        return [Returned(index, result)]

    def _joins(self, member: _Member, result: _Ready | Failure) -> None:
        if isinstance(result, Failure):
            if len(self._members) == 1:
                raise result.error
            self._leave_out(member, str(result.error))
            return
        self._false_starts = 0
        member.node = result.node
        if (difference := self._assignments.join(member, result.about)) is not None:
            self._leave_out(member, difference)

    def _died(self, member: _Member, error: Exception) -> list[Event]:
        was_ready = member in self._assignments
        held = self._assignments.leave(member)
        self._strike(member)
        self._follow_at = 0.0
        lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
        reason = lines[-1] if lines else type(error).__name__
        if not was_ready:
            self._false_starts += 1
            if self._false_starts >= STARTS:
                self._left_out += 1
                leave_out(
                    self._place, f"{self._false_starts} died before they were ready: {reason}", others=self.size
                )
        if not held:
            return []
        alive = {node["NodeID"] for node in self._ray.nodes() if node["Alive"]}
        return [Lost(held, reason, with_machine=member.node not in alive)]

    def _leave_out(self, member: _Member, reason: str) -> list[Event]:
        held = self._assignments.leave(member)
        self._strike(member)
        self._left_out += 1
        leave_out(member.node or self._place, reason, others=len(self._members))
        return [Lost(held, reason)] if held else []

    def _strike(self, member: _Member) -> None:
        for ref in member.pending:
            self._pending.pop(ref, None)
        self._members.remove(member)
        self._ray.kill(member.actor)

    def _prepare(self) -> None:
        """Decide which resources a worker takes, and define the actor.

        :raises EnvironmentUnfitError: the workers do not fit this machine, where the cluster is our own
        """
        options, gpus = self._options, self._options.gpus
        if gpus is None:
            gpus = 1.0 if self._ray.cluster_resources().get("GPU", 0) >= 1 else 0.0
        self._place = "cuda" if gpus else "cpu"
        self._takes = {"CPU": options.cpus, "GPU": gpus}
        if self._connection.is_own and self._fitting() < (options.workers or 1):
            raise EnvironmentUnfitError(self._too_small())
        self._actor_class = self._ray.remote(
            num_cpus=options.cpus, num_gpus=gpus, max_restarts=0, max_task_retries=0, max_concurrency=DEFAULT_SLOTS
        )(_Actor)
        self._factory_ref = self._ray.put(self._factory)

    def _too_small(self) -> str:
        """Return in words that the workers do not fit this machine, and what to do about it."""
        has, count = self._ray.cluster_resources(), self._options.workers or 1
        return (
            f"--engine ray: {'a worker' if count == 1 else f'{count} workers'} of {self._takes['CPU']:g} CPUs and "
            f"{self._takes['GPU']:g} GPUs {'does' if count == 1 else 'do'} not fit this machine, which has "
            f"{has.get('CPU', 0):g} and {has.get('GPU', 0):g}; lower --devices, --cpus-per-worker or "
            "--gpus-per-worker, or name a cluster with --ray-address"
        )

    def _fitting(self) -> int:
        """Return how many workers fit the nodes that are alive."""
        fitting = 0
        for node in self._ray.nodes():
            if node["Alive"]:
                has = node["Resources"]
                fitting += min(int(has.get(name, 0) // taken) for name, taken in self._takes.items() if taken)
        return fitting

    def _follow(self) -> None:
        """Request workers that the cluster has room for, at most once every ``FOLLOW_S`` seconds."""
        now = time.monotonic()
        if now < self._follow_at:
            return
        self._follow_at = now + FOLLOW_S
        # At least one, for clusters that grow on request.
        target = self._options.workers or max(1, self._fitting())
        for _ in range(target - self._left_out - len(self._members)):
            member = _Member(self._actor_class.remote())
            self._members.append(member)
            self._ask(member, member.actor.begin.remote(self._factory_ref, self._place), None)
        if self.size:
            self._waiting_since = now
        elif now - self._waiting_since > PATIENCE_S:
            self._waiting_since = now
            log_event(
                "no worker is ready; waiting for the cluster",
                level=logging.WARNING,
                cpus=self._takes["CPU"],
                gpus=self._takes["GPU"],
                fitting=self._fitting(),
            )


class _Actor:
    """Holds one worker, in a process started by Ray."""

    def __init__(self) -> None:
        self._logged: list[Logged] = []
        self._runner: TaskRunner[Any, Any] | None = None
        log_through(lambda logged: self._logged.append(logged) if len(self._logged) < _LOGS_KEPT else None)

    def begin(self, factory: WorkerFactory[Any], place: str) -> _Reply:
        """Make the worker."""
        import ray

        try:
            worker = factory(place)
            about = worker.about
        except Exception as error:  # noqa: BLE001 (handed to the run)
            return self._reply(Failure.of(error))
        self._runner = TaskRunner(worker)
        return self._reply(_Ready(about, ray.get_runtime_context().get_node_id()))

    def do(self, task: Any) -> _Reply:
        """Do a task."""
        if self._runner is None:
            raise RuntimeError("the worker was never made")
        return self._reply(self._runner.do(task))

    def _reply(self, result: Any) -> _Reply:
        logged, self._logged = self._logged, []
        return _Reply(pickled(result), logged)
