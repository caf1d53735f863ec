"""The workers of a crew: each holds a model on a device of its own, in a process of its own."""

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
from qatool.jobs.workers.keepers import ProcessKeepers, begin_early
from qatool.jobs.workers.processes import ProcessDiedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from qatool.extraction.answering.part import Task
    from qatool.extraction.answering.setup import Resolved
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

    What :mod:`qatool.extraction.engines.staged` does where there is one card, in the order that shards come in.

    :param answerer: holds the model
    :param workers: processes that prepare and decide, at most
    """

    hands = LAUNCHED + 4

    def __init__(self, answerer: Answerer, *, workers: int) -> None:
        self.about = answerer.about
        self._reader = card_reader(answerer.extractor, lambda: None)
        self._keepers = ProcessKeepers(partial(ShardKeeper.in_process, answerer), workers, preload=PRELOAD)
        self._choosing, self._telling = threading.Lock(), threading.Lock()
        self._launched = threading.Semaphore(LAUNCHED)

    def prepare(self, task: Task) -> Kept:
        """Have a shard tokenised and cut by the process with the least to do.

        :raises InputError: its features cannot be read
        """
        keeper, prepared = self._asked(None, ShardKeeper.prepare, task)
        return Kept(keeper, task.shard.index, prepared)

    def finish(self, kept: Kept, tick: Callable[[int], None]) -> Part:
        """Have the card read a shard behind those it was told before, and its keeper decide it."""
        reader = replace(self._reader, tick=tick)
        with self._launched:
            with self._telling:
                launched = reader.launch(kept.prepared.card)
            while not launched.ready():  # to wait for a card by its own means keeps a core busy
                time.sleep(_PAUSE_S)
            with self._telling:  # what overflowed is read again
                spans, failed = reader.collect(launched)
        _, (part, _) = self._asked(kept.keeper, ShardKeeper.decide, kept.index, spans, failed)
        return part

    def _asked(self, keeper: int | None, task: Callable[..., R], *given: object) -> tuple[int, R]:
        """Have a keeper do something; return which one did, and what came of it.

        With a keeper that dies this process ends, too: what it had in hand is tried again as that of any worker that
        was lost, and a shard that kills whoever has it is given up.

        :param keeper: ``None``: the one with the least to do
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
    planned: Mapping[str, Any]
    """Limits of the plan that is being continued, empty for a new one."""
    features: Path | None
    """What ``qatool prep`` made of the examples."""
    beside: int = 0
    """Processes that prepare and decide beside a card, at most; none: its own process does."""

    def __call__(self, place: str) -> Answerer | CardWorker:
        """Load the model.

        :param place: the device: ``cpu``, ``cuda`` or ``cuda:N``
        :raises EnvironmentUnfitError: it does not load there
        """
        from qatool.extraction.answering.setup import load_setup

        if place.startswith("cuda:"):
            import torch

            torch.cuda.set_device(place)  # what names no card means this one
        if self.beside and place.startswith("cuda"):
            begin_early(PRELOAD)
        options = replace(self.options, device=place)
        features = None if self.features is None else FeaturesFolder(self.features)
        answerer = Answerer(load_setup(options, planned=self.planned, kept={}, features=features))
        if not self.beside or device_backend(answerer.extractor.backend) is None:
            return answerer
        return CardWorker(answerer, workers=self.beside)

    def difference(self, first: Resolved, other: Resolved) -> str | None:
        """Return in words what one worker resolved otherwise than the first."""
        pairs = {
            "qatool": (first.version, other.version),
            **{name: (value, other.identity.get(name)) for name, value in first.identity.items()},
            **{name: (value, other.limits.get(name)) for name, value in first.limits.items()},
        }
        differing = [f"{name} {ours!r} and {theirs!r}" for name, (ours, theirs) in pairs.items() if ours != theirs]
        return f"would not answer as the others do ({', '.join(differing)})" if differing else None
