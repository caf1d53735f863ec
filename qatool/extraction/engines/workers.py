"""The workers of a crew: each runs in its own process and holds a model on its own device."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from qatool.extraction.answering.oncard import device_backend
from qatool.extraction.answering.part import Answerer
from qatool.extraction.engines.keeper import ShardKeeper
from qatool.extraction.engines.staged import LAUNCHED, PRELOAD, card_reader
from qatool.features.reader import FeaturesFolder
from qatool.jobs.workers.forkserver import begin_early
from qatool.jobs.workers.keepers import ProcessKeepers
from qatool.jobs.workers.processes import ProcessDiedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from qatool.extraction.answering.part import Task
    from qatool.extraction.answering.resolved import Numerics, Resolved
    from qatool.extraction.engines.keeper import Prepared
    from qatool.jobs.work import Part
    from qatool.options import ExtractOptions

R = TypeVar("R")

_PAUSE_S = 0.002


@dataclass(frozen=True)
class Kept:
    """A shard that a keeper has prepared."""

    keeper: int
    index: int
    prepared: Prepared


class CardWorker:
    """Answers shards on a card with processes beside it; see :class:`qatool.jobs.workers.crew.Worker`.

    It does for one card of several what :mod:`qatool.extraction.engines.staged` does for a single card.

    :param answerer: holds the model
    :param workers: processes that prepare and decide shards, at most
    """

    hands = LAUNCHED + 4

    def __init__(self, answerer: Answerer, *, workers: int) -> None:
        self.about = answerer.about
        self._reader = card_reader(answerer.extractor, lambda: None)
        self._keepers = ProcessKeepers(partial(ShardKeeper.in_process, answerer), workers, preload=PRELOAD)
        self._choosing, self._telling = threading.Lock(), threading.Lock()
        self._launched = threading.Semaphore(LAUNCHED)

    def prepare(self, task: Task) -> Kept:
        """Have a shard tokenised and cut by the least busy process.

        :raises InputError: its features cannot be read
        """
        keeper, prepared = self._asked(None, ShardKeeper.prepare, task)
        return Kept(keeper, task.shard.index, prepared)

    def finish(self, kept: Kept, tick: Callable[[int], None]) -> Part:
        """Have the card read a shard after those launched before, and its keeper decide it."""
        reader = replace(self._reader, tick=tick)
        with self._launched:
            with self._telling:
                launched = reader.launch(kept.prepared.card)
            while not launched.ready():  # CUDA's own wait would keep a core busy
                time.sleep(_PAUSE_S)
            with self._telling:  # windows whose scores overflowed are read again, which launches work
                spans, failed = reader.collect(launched)
        _, (part, _) = self._asked(kept.keeper, ShardKeeper.decide, kept.index, spans, failed)
        return part

    def _asked(self, keeper: int | None, task: Callable[..., R], *given: object) -> tuple[int, R]:
        """Have a keeper do a task; return the keeper's number and the result of the task.

        When a keeper dies, this process ends, too. Its shards are then tried again like those of any lost worker, and
        a shard that kills every worker that tries it is given up.

        :param keeper: number of the keeper; ``None``: the least busy one
        """
        with self._choosing:
            if keeper is None:
                keeper = self._keepers.least_busy()
            called = self._keepers.call(keeper, task, *given)
        try:
            return keeper, called.result()
        except ProcessDiedError:
            os._exit(ProcessDiedError.exit_code)


@dataclass(frozen=True, kw_only=True)
class AnswererMaker:
    """Makes a worker in another process; see :class:`qatool.jobs.workers.crew.Maker`."""

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
