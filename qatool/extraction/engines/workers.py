"""The workers of a pool: each runs in its own process and holds a model on its own device."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from qatool.extraction.answering.answerer import Answerer
from qatool.extraction.answering.cardreader import device_backend
from qatool.extraction.engines.shardactor import ShardActor
from qatool.extraction.engines.staged import LAUNCHED, PRELOAD, card_reader
from qatool.features.reader import FeaturesFolder
from qatool.jobs.workers.actors import ProcessActors
from qatool.jobs.workers.forkserver import begin_early
from qatool.jobs.workers.processes import ProcessDiedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from qatool.extraction.answering.answerer import Task
    from qatool.extraction.answering.resolved import Numerics, Resolved
    from qatool.extraction.engines.shardactor import Prepared
    from qatool.jobs.work import Part
    from qatool.options import ExtractOptions

R = TypeVar("R")

_PAUSE_S = 0.002


@dataclass(frozen=True)
class PreparedOnActor:
    """A shard that an actor has prepared."""

    actor: int
    index: int
    prepared: Prepared


class CardWorker:
    """Answers shards on a card with processes beside it; see :class:`qatool.jobs.workers.pool.Worker`.

    It does for one card of several what :mod:`qatool.extraction.engines.staged` does for a single card.

    :param answerer: holds the model
    :param workers: processes that prepare and decide shards, at most
    """

    slots = LAUNCHED + 4

    def __init__(self, answerer: Answerer, *, workers: int) -> None:
        self.about = answerer.about
        self._reader = card_reader(answerer.extractor, lambda: None)
        self._actors = ProcessActors(partial(ShardActor.in_process, answerer), workers, preload=PRELOAD)
        self._actors_lock, self._device_lock = threading.Lock(), threading.Lock()
        self._launched = threading.Semaphore(LAUNCHED)

    def prepare(self, task: Task) -> PreparedOnActor:
        """Have a shard tokenised and cut by the least busy process.

        :raises InputError: its features cannot be read
        """
        actor, prepared = self._asked(None, ShardActor.prepare, task)
        return PreparedOnActor(actor, task.shard.index, prepared)

    def finish(self, prepared: PreparedOnActor, tick: Callable[[int], None]) -> Part:
        """Have the card read a shard after those launched before, and its actor decide it."""
        reader = replace(self._reader, tick=tick)
        with self._launched:
            with self._device_lock:
                launched = reader.launch(prepared.prepared.card)
            while not launched.ready():  # CUDA's own wait would keep a core busy
                time.sleep(_PAUSE_S)
            with self._device_lock:  # windows whose scores overflowed are read again, which launches work
                spans, failed = reader.collect(launched)
        _, (part, _) = self._asked(prepared.actor, ShardActor.decide, prepared.index, spans, failed)
        return part

    def _asked(self, actor: int | None, task: Callable[..., R], *given: object) -> tuple[int, R]:
        """Have an actor do a task; return the actor's number and the result of the task.

        When an actor dies, this process ends, too. Its shards are then tried again like those of any lost worker, and
        a shard that kills every worker that tries it is given up.

        :param actor: number of the actor; ``None``: the least busy one
        """
        with self._actors_lock:
            if actor is None:
                actor = self._actors.least_busy()
            called = self._actors.call(actor, task, *given)
        try:
            return actor, called.result()
        except ProcessDiedError:
            os._exit(ProcessDiedError.exit_code)


@dataclass(frozen=True, kw_only=True)
class AnswererFactory:
    """Makes a worker in another process; see :class:`qatool.jobs.workers.pool.WorkerFactory`."""

    options: ExtractOptions
    planned: Numerics | None
    """The values of the plan that is being continued, ``None`` for a new one."""
    features: Path | None
    """The folder of features that ``qatool prep`` made, ``None`` where windows are cut from the texts."""
    beside: int = 0
    """Processes that prepare and decide shards beside each card, at most; 0: the worker's own process does."""

    def __call__(self, place: str) -> Answerer | CardWorker:
        """Load the model, and return a worker that holds it.

        :param place: the device: ``cpu``, ``cuda`` or ``cuda:N``
        :raises EnvironmentUnfitError: the model does not load on the device
        """
        from qatool.extraction.answering.setup import load_setup

        if place.startswith("cuda:"):
            import torch

            torch.cuda.set_device(place)  # the default for CUDA calls that name no card
        if self.beside and place.startswith("cuda"):
            begin_early(PRELOAD)
        options = replace(self.options, device=place)
        features = None if self.features is None else FeaturesFolder(self.features)
        answerer = Answerer(load_setup(options, planned=self.planned, features=features))
        if not self.beside or device_backend(answerer.extractor.backend) is None:
            return answerer
        return CardWorker(answerer, workers=self.beside)

    def difference(self, first: Resolved, other: Resolved) -> str | None:
        """Return in words what a worker resolved differently from the first one, ``None`` where nothing differs."""
        pairs = {
            "qatool": (first.version, other.version),
            **_pairs(first.identity.as_json(), other.identity.as_json()),
            **_pairs(first.numerics.as_json(), other.numerics.as_json()),
        }
        differing = [f"{name} {ours!r} and {theirs!r}" for name, (ours, theirs) in pairs.items() if ours != theirs]
        return f"would not answer as the others do ({', '.join(differing)})" if differing else None


def _pairs(first: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {name: (value, other.get(name)) for name, value in first.items()}
