"""Choose what answers the shards of a run: this process, processes of this machine, or workers of a Ray cluster.

The choice changes no answer, so it is not part of the plan, and a run may be continued by another engine.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from qatool.errors import EnvironmentUnfitError
from qatool.extraction.answering.answerer import Answerer
from qatool.extraction.answering.cardreader import device_backend
from qatool.extraction.answering.setup import load_setup
from qatool.extraction.engines.job import WorkHere
from qatool.extraction.engines.staged import MOST_WORKERS, PRELOAD, StagedExtraction, default_workers
from qatool.extraction.engines.workers import AnswererFactory
from qatool.jobs.engines.distributed import run_distributed
from qatool.jobs.engines.local import run_local
from qatool.jobs.engines.staged import run_staged
from qatool.jobs.workers.forkserver import begin_early
from qatool.jobs.workers.processes import usable_cores
from qatool.jobs.workers.processpool import ProcessWorkerPool
from qatool.models.named import model_name
from qatool.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack

    from qatool.extraction.answering.answerer import Task
    from qatool.extraction.answering.resolved import Numerics, Resolved
    from qatool.extraction.engines.job import ExtractionJob
    from qatool.features.reader import FeaturesFolder
    from qatool.jobs.engines.monitor import RunMonitor
    from qatool.jobs.stopping import Stop
    from qatool.jobs.work import Store
    from qatool.jobs.workers.pool import WorkerPool
    from qatool.options import ExtractOptions

_PRELOAD = (
    "qatool.extraction.answering.setup", "qatool.models.pytorch.torch_backend", "qatool.models.identity",
    "qatool.spans.native", "transformers.models.auto.modeling_auto",
)  # fmt: skip
"""Modules that every worker of this machine needs, imported once for all of them."""


class Engine(Protocol):
    """Answers the shards of a job with workers that are ready."""

    @property
    def resolved(self) -> Resolved:
        """The options, resolved where the work is done."""
        ...

    @property
    def devices(self) -> str:
        """The devices that answer, in words."""
        ...

    def run(self, job: ExtractionJob, store: Store, monitor: RunMonitor, *, in_order: bool) -> None:
        """Answer all shards; see :func:`qatool.jobs.engines.distributed.run_distributed`."""
        ...


def open_engine(
    options: ExtractOptions,
    *,
    planned: Numerics | None,
    features: FeaturesFolder | None,
    stop: Stop,
    stack: ExitStack,
) -> Engine:
    """Return the engine that the options ask for, once it has loaded a model.

    :param planned: the values of the plan that is being continued, ``None`` for a new one
    :param features: the folder that holds the windows, ``None`` where they are cut from the texts
    :param stack: ends the workers when it is closed
    :raises EnvironmentUnfitError: a device is absent, Ray cannot be used, or the model does not load
    :raises InputError: the features were made for another model
    :raises UsageError: the options ask for a window size that the model cannot read, or that the features do not have
    """
    places = local_places(options) if options.engine == "local" else []
    each = replace(options, devices=None, engine="local", ray_address=None, gpus_per_worker=None, cpus_per_worker=1.0)
    if len(places) == 1:
        return _Here(replace(each, device=places[0]), planned=planned, features=features)
    threads = options.workers or max(1, usable_cores() // max(1, len(places)))
    if options.engine == "ray":
        threads = options.workers or max(1, int(options.cpus_per_worker))
    factory = AnswererFactory(
        options=replace(each, model=_anywhere(model_name(options.model)), workers=threads),
        planned=planned,
        features=None if features is None else features.path.absolute(),
        # One core is left to launch work on the card. A worker of a cluster is a single process.
        beside=0 if options.engine == "ray" else options.workers or min(threads - 1, MOST_WORKERS),
    )
    pool: WorkerPool[Task]
    if options.engine == "ray":
        with stop.at_once():
            pool = stack.enter_context(_ray_pool(factory, options))
    else:
        pool = stack.enter_context(ProcessWorkerPool(factory, places, preload=_PRELOAD))
    return _PoolEngine(pool, pool.about(lambda: stop.check(may_run_out=False)), len(places) or None)


def local_places(options: ExtractOptions) -> Sequence[str]:
    """Return the devices of this machine to use, as ``--device`` names them.

    :raises EnvironmentUnfitError: the machine has fewer devices than ``--devices`` asks for
    """
    asked = options.devices
    if asked is None or asked == "1":
        return [options.device]
    if options.device == "cpu" or options.backend in {"constant", "openvino"}:
        cores = usable_cores()
        count = 1 if asked == "all" else int(asked)
        if count > cores:
            raise EnvironmentUnfitError(
                f"--devices {asked}: this machine has {counted(cores, 'core')}; use {cores} or fewer"
            )
        return ["cpu"] * count
    import torch

    cards = torch.cuda.device_count()
    if not cards and asked == "all":
        return [options.device]
    if not cards:
        raise EnvironmentUnfitError(
            f"--devices {asked}: this machine has no CUDA card; drop it, or add --device cpu for processes that "
            "share its cores"
        )
    count = cards if asked == "all" else int(asked)
    if count > cards:
        raise EnvironmentUnfitError(
            f"--devices {asked}: this machine has {counted(cards, 'CUDA card')}; use --devices {cards} or all"
        )
    return [f"cuda:{number}" for number in range(count)]


def _ray_pool(factory: AnswererFactory, options: ExtractOptions) -> Any:
    from qatool.jobs.workers.raypool import ClusterOptions, RayWorkerPool

    # Ray reserves a card where --device cuda needs one, none where it could not be used, and else decides itself.
    on_cpu = options.device == "cpu" or options.backend in {"constant", "openvino"}
    needs = 0.0 if on_cpu else 1.0 if options.device == "cuda" else None
    return RayWorkerPool(
        factory,
        ClusterOptions(
            address=options.ray_address,
            cpus=options.cpus_per_worker,
            gpus=needs if options.gpus_per_worker is None else options.gpus_per_worker,
            workers=None if options.devices in {None, "all"} else int(options.devices or 1),
        ),
    )


def _anywhere(model: str) -> str:
    """Return a name of the model that is valid in any working folder: an absolute path, or the hub id."""
    return str(Path(model).absolute()) if Path(model).exists() else model


def _is_for_card(options: ExtractOptions) -> bool:
    """Return whether the model is sure to run on a card."""
    if options.device == "cpu" or options.backend not in {"auto", "torch"}:
        return False
    import torch

    return torch.cuda.is_available()


class _Here:
    """The engine that answers in this process, on one device."""

    def __init__(self, options: ExtractOptions, *, planned: Numerics | None, features: FeaturesFolder | None) -> None:
        if _is_for_card(options):
            # These imports take seconds; they run while the model loads.
            begin_early(PRELOAD)
        setup = load_setup(options, planned=planned, features=features)
        self._answerer = Answerer(setup)
        self.resolved: Resolved = self._answerer.about
        self.devices = setup.resolved.device
        self._workers = options.workers or default_workers()

    def run(self, job: ExtractionJob, store: Store, monitor: RunMonitor, *, in_order: bool) -> None:
        """Answer all shards, one after the other; on a card, several at once in different stages.

        :param in_order: whether parts are streamed to a reader; they are committed in order either way
        """
        if device_backend(self._answerer.extractor.backend) is None:
            with closing(self._answerer):
                run_local(WorkHere(job, self._answerer), store, monitor)
        else:
            staged = StagedExtraction(job, self._answerer, workers=self._workers)
            run_staged(staged, store, monitor, write_beside=not in_order)


class _PoolEngine:
    """The engine that has workers in other processes answer.

    :param count: number of workers, ``None`` where it changes during the run
    """

    def __init__(self, pool: WorkerPool[Task], resolved: Resolved, count: int | None) -> None:
        self._pool = pool
        self.resolved = resolved
        self._count = count

    @property
    def devices(self) -> str:
        """The kind of device and the current number of them, in words."""
        return f"{self.resolved.numerics.device_kind} x {self._count or self._pool.size}"

    def run(self, job: ExtractionJob, store: Store, monitor: RunMonitor, *, in_order: bool) -> None:
        """Answer all shards, as many at once as there are workers."""
        run_distributed(job, self._pool, store, monitor, in_order=in_order)
