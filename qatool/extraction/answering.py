"""A shard becomes a part: the one thing that every engine has done, in whatever process, on whatever machine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from qatool.extraction.oncard import device_backend
from qatool.features.reader import FeaturesFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import pyarrow as pa

    from qatool.extraction.extractor import Extractor, PreparedShard
    from qatool.extraction.previous import TakenAnswers
    from qatool.extraction.reading import Launched, WindowReader
    from qatool.extraction.setup import Resolved, Setup
    from qatool.extraction.shards import Shard
    from qatool.jobs.work import Part
    from qatool.options import ExtractOptions


@dataclass(frozen=True, kw_only=True)
class Task:
    """Everything that answering a shard takes, besides the model."""

    shard: Shard
    taken: TakenAnswers | None
    """What of it was answered before."""
    kept: Mapping[str, pa.DataType | None]
    """The ``--keep`` columns and their declared types, which standard input tells late."""


class Begun(NamedTuple):
    """A shard that the model has begun to read, or that waits for its turn."""

    prepared: PreparedShard
    launched: Launched | None
    """``None`` where the device is told to read when the shard is finished."""


class Answerer:
    """Answers shards with a model that it holds; see :class:`qatool.jobs.crew.Worker`."""

    def __init__(self, setup: Setup) -> None:
        self.about: Resolved = setup.resolved()
        """What it came to; all workers of a run must come to the same."""
        self.extractor: Extractor = setup.extractor
        self._reader: WindowReader | None = None

    def cut(self, task: Task) -> PreparedShard:
        """Tokenise and cut a shard.

        :raises InputError: its features cannot be read
        """
        # The same for all shards of a run, but not known when the model is loaded: standard input is read later.
        if task.kept != self.extractor.kept:
            self.extractor = replace(self.extractor, kept=task.kept)
        return self.extractor.prepare(task.shard, task.taken)

    def prepare(self, task: Task) -> Begun:
        """Tokenise and cut a shard, and queue it for the model behind those that were prepared before.

        :raises InputError: its features cannot be read
        """
        prepared = self.cut(task)
        if device_backend(self.extractor.backend) is not None:
            return Begun(prepared, None)
        if self._reader is None:
            self._reader = self.extractor.reader()
        return Begun(prepared, self._reader.launch(prepared.examples, self.extractor.searched_characters(prepared)))

    def finish(self, begun: Begun, tick: Callable[[int], None]) -> Part:
        """Wait until the model has read a shard, and decide every example."""
        if begun.launched is None or self._reader is None:
            return self.extractor.answer(begun.prepared, tick)
        return self.extractor.decide(begun.prepared, *self._reader.collect(begun.launched, tick))

    def close(self) -> None:
        """Drop what was prepared and is not finished; what is still being prepared is not read any more."""
        if self._reader is None:
            self._reader = self.extractor.reader()
        self._reader.close()


@dataclass(frozen=True, kw_only=True)
class AnswererMaker:
    """Makes an answerer in another process; see :class:`qatool.jobs.crew.Maker`."""

    options: ExtractOptions
    planned: Mapping[str, Any]
    """Limits of the plan that is being continued, empty for a new one."""
    features: Path | None
    """What ``qatool prep`` made of the examples."""

    def __call__(self, place: str) -> Answerer:
        """Load the model.

        :param place: the device: ``cpu``, ``cuda`` or ``cuda:N``
        :raises EnvironmentUnfitError: it does not load there
        """
        from qatool.extraction.setup import prepare

        if place.startswith("cuda:"):
            import torch

            torch.cuda.set_device(place)  # what names no card means this one
        options = replace(self.options, device=place)
        features = None if self.features is None else FeaturesFolder(self.features)
        return Answerer(prepare(options, planned=self.planned, kept={}, features=features))

    def difference(self, first: Resolved, other: Resolved) -> str | None:
        """Return in words what one worker resolved otherwise than the first."""
        pairs = {
            "qatool": (first.version, other.version),
            **{name: (value, other.identity.get(name)) for name, value in first.identity.items()},
            **{name: (value, other.limits.get(name)) for name, value in first.limits.items()},
        }
        differing = [f"{name} {ours!r} and {theirs!r}" for name, (ours, theirs) in pairs.items() if ours != theirs]
        return f"would not answer as the others do ({', '.join(differing)})" if differing else None
