"""Extraction in stages, for a card: processes prepare and decide shards, and the card reads one after the other.

The card should never wait: while it reads a shard, the next ones are prepared, one more is already launched, and the
shards it has read are decided and written. No more shards are prepared ahead, and by no more processes, than keep the
card busy: each process has to build its own cache of words, and all of them share the cores with the process that
launches work on the card.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from qatool.extraction.answering.cardreader import CardReader, device_backend
from qatool.extraction.engines.shardactor import ShardActor
from qatool.jobs.engines.staged import FinishedUnit
from qatool.jobs.workers.actors import InProcessActor, ProcessActors
from qatool.jobs.workers.processes import usable_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from qatool.extraction.answering.answerer import Answerer, Task
    from qatool.extraction.answering.cardreader import LaunchedShard
    from qatool.extraction.answering.extractor import Extractor
    from qatool.extraction.answering.shards import Shard
    from qatool.extraction.engines.job import ExtractionJob
    from qatool.extraction.engines.shardactor import Prepared
    from qatool.jobs.work import Part
    from qatool.jobs.workers.actors import Actors

MOST_WORKERS = 16
LAUNCHED = 2
"""Shards launched on the card at once: the one it is reading, and the next."""
_FIRST_AHEAD = 4
"""Shards to prepare ahead at first; one more is added each time the card had to wait."""
_PAUSE_S = 0.005
_PATIENCE_S = 0.5
"""How long the first shard waits for a second one: a small input has none, and with a slow one the first goes on."""


class _End:
    """Marks the end of the tasks."""


_END = _End()
PRELOAD = (
    "qatool.extraction.engines.shardactor", "qatool.extraction.answering.answerer",
    "qatool.extraction.answering.extractor", "qatool.extraction.answering.setup", "qatool.models.identity",
    "qatool.models.loading", "qatool.spans.native", "tokenizers",
    "pandas",  # pyarrow imports it with the first array, where it is installed
)  # fmt: skip
"""Modules that the processes beside a card need, imported once for all of them."""


def default_workers() -> int:
    """Return how many processes prepare and decide shards.

    Each has a core of its own; two cores are left to read the input and to launch work on the card.
    """
    return max(1, min(usable_cores() - 2, MOST_WORKERS))


class StagedExtraction:
    """Turns a corpus into parts of answers; see :class:`qatool.jobs.engines.staged.StagedWork`.

    :param workers: processes that prepare and decide shards; with a single shard, none is started
    """

    def __init__(self, job: ExtractionJob, answerer: Answerer, *, workers: int) -> None:
        self._job, self._answerer = job, answerer
        self._workers = workers

    def units(self) -> Iterator[Shard]:
        """Yield the shards of the corpus; see :meth:`~qatool.extraction.engines.job.ExtractionJob.units`."""
        return self._job.units()

    def task_for(self, unit: Shard) -> Task:
        """Return the task of answering a shard; see :meth:`~qatool.extraction.engines.job.ExtractionJob.task_for`."""
        return self._job.task_for(unit)

    def parts(self, tasks: Iterator[Task | None], *, check: Callable[[], None]) -> Generator[FinishedUnit]:
        """Answer shards, and yield their parts in order.

        :param tasks: yields ``None`` while the next task has not been read yet
        :param check: called often; may raise to stop
        :raises EnvironmentUnfitError: a process died
        :raises InputError: the model cannot read a row, and bad rows are not skipped
        """
        first = list(_first_two(tasks))
        actors: Actors
        if len(first) < 2:
            actors = InProcessActor(partial(ShardActor, self._answerer))
        else:
            make = partial(ShardActor.in_process, self._answerer)
            actors = ProcessActors(make, self._workers, preload=PRELOAD)
        with closing(actors):
            reader = card_reader(self._answerer.extractor, check)
            yield from _Pipeline(self._job, reader, actors, chain(first, tasks), check=check).parts()


def _first_two(tasks: Iterator[Task | None]) -> Iterator[Task | None]:
    """Yield the first two tasks, or as many as there are; ``None`` in place of a second that is slow to come."""
    begun = None
    while not isinstance(task := next(tasks, _END), _End):
        if task is not None or (begun is not None and time.monotonic() - begun > _PATIENCE_S):
            yield task
            if begun is not None:
                return
            begun = time.monotonic()


@dataclass(kw_only=True)
class _OnItsWay:
    """A shard in progress; data of a stage that is over is dropped."""

    index: int
    actor: int
    shard: Shard | None
    """The shard itself, ``None`` where no sample of its answers is wanted."""
    prepared: Future[Prepared] | None
    launched: LaunchedShard | None = None
    decided: Future[tuple[Part, float]] | None = None
    content_hash: str = ""
    prepare_seconds: float = 0.0
    read_seconds: float = 0.0


class _Pipeline:
    """A pipeline of shards, which are prepared, read and decided in order, each step as early as possible."""

    def __init__(
        self,
        job: ExtractionJob,
        reader: CardReader,
        actors: Actors,
        tasks: Iterator[Task | None],
        *,
        check: Callable[[], None],
    ) -> None:
        self._job, self._reader, self._actors, self._tasks, self._check = job, reader, actors, tasks, check
        self._preparing: deque[_OnItsWay] = deque()
        self._reading: deque[_OnItsWay] = deque()
        self._deciding: deque[_OnItsWay] = deque()
        self._most_ahead = actors.count + 1
        self._wanted_ahead = min(_FIRST_AHEAD, self._most_ahead)
        self._last_read = time.monotonic()
        self._has_begun = self._is_over = False

    def parts(self) -> Iterator[FinishedUnit]:
        """Yield the parts, in order."""
        while True:
            self._check()
            moved = [self._collect(), self._launch(), self._take()]
            made = self._finish()
            if made is not None:
                yield made
            elif not any(moved):
                if self._is_over and not (self._preparing or self._reading or self._deciding):
                    return
                self._pause()

    def _take(self) -> bool:
        """Have another shard prepared, unless enough are in progress; return whether it was."""
        ahead, behind = len(self._preparing), len(self._deciding)
        if self._is_over or ahead >= self._wanted_ahead or ahead + behind > 2 * self._actors.count:
            return False
        task = next(self._tasks, _END)
        if task is None or isinstance(task, _End):
            self._is_over = task is not None
            return False
        actor = self._actors.least_busy()
        self._preparing.append(
            _OnItsWay(
                index=task.shard.index,
                actor=actor,
                shard=task.shard if self._job.wants_samples else None,
                prepared=self._actors.call(actor, ShardActor.prepare, task),
            )
        )
        return True

    def _launch(self) -> bool:
        """Launch the next prepared shard on the card, if there is one; return whether it was."""
        future = self._preparing[0].prepared if self._preparing else None
        if future is None or not future.done() or len(self._reading) == LAUNCHED:
            return False
        if self._has_begun and all(one.launched is None or one.launched.ready() for one in self._reading):
            self._wanted_ahead = min(self._wanted_ahead + 1, self._most_ahead)
        self._has_begun = True
        one, prepared = self._preparing.popleft(), future.result()
        one.prepared = None
        one.content_hash, one.prepare_seconds = prepared.content_hash, prepared.seconds
        one.launched = self._reader.launch(prepared.card)
        self._reading.append(one)
        return True

    def _collect(self) -> bool:
        """Have the shard that the card has read decided, if there is one; return whether it was."""
        launched = self._reading[0].launched if self._reading else None
        if launched is None or not launched.ready():
            return False
        one = self._reading.popleft()
        one.launched = None
        spans, failed = self._reader.collect(launched)
        one.decided = self._actors.call(one.actor, ShardActor.decide, one.index, spans, failed)
        now = time.monotonic()
        one.read_seconds, self._last_read = now - self._last_read, now
        self._deciding.append(one)
        return True

    def _finish(self) -> FinishedUnit | None:
        """Return the part of the first shard in progress, ``None`` if it is not decided yet."""
        future = self._deciding[0].decided if self._deciding else None
        if future is None or not future.done():
            return None
        one = self._deciding.popleft()
        part, seconds = future.result()
        self._job.received(one.shard, part)
        return FinishedUnit(
            index=one.index,
            content_hash=one.content_hash,
            part=part,
            amount=part.counts["windows_read"],
            stages={"prepare": one.prepare_seconds + seconds, "read": one.read_seconds},
        )

    def _pause(self) -> None:
        """Wait until a process has finished, but only briefly: the card has to be polled."""
        awaited: list[Future[Any]] = []
        if self._preparing and self._preparing[0].prepared is not None and len(self._reading) < LAUNCHED:
            awaited.append(self._preparing[0].prepared)
        if self._deciding and self._deciding[0].decided is not None:
            awaited.append(self._deciding[0].decided)
        if awaited:
            wait(awaited, timeout=_PAUSE_S, return_when=FIRST_COMPLETED)
        else:
            time.sleep(_PAUSE_S)


def card_reader(extractor: Extractor, check: Callable[[], None]) -> CardReader:
    """Return the reader that launches work on the card of an extractor.

    :param check: called with every batch; may raise to stop
    :raises ValueError: the backend of the extractor is given its batches by the host
    """
    backend = device_backend(extractor.backend)
    if backend is None:
        raise ValueError(f"the backend {extractor.backend.name} is given its batches by the host")
    return CardReader(
        backend=backend,
        search=extractor.decoder.search,
        batch_tokens=extractor.batch_tokens,
        tick=lambda _: check(),
    )
