"""Extraction in stages, for a card: processes prepare and decide shards, the card reads one after the other.

Everything a card waits for is done before it is through with what it has: the next shards are prepared, one more than
it reads is launched, and what it found is decided and written while it reads on. As few shards are prepared ahead, by
as few processes, as keep the card busy: each process has words to learn, and all of them share the cores with the one
that tells the card what to do.
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

from qatool.extraction.answering.oncard import CardReader, device_backend
from qatool.extraction.engines.keeper import ShardKeeper
from qatool.jobs.engines.staged import FinishedUnit
from qatool.jobs.workers.keepers import LocalKeeper, ProcessKeepers
from qatool.jobs.workers.processes import usable_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from qatool.extraction.answering.extractor import Extractor
    from qatool.extraction.answering.oncard import LaunchedShard
    from qatool.extraction.answering.part import Answerer, Task
    from qatool.extraction.answering.shards import Shard
    from qatool.extraction.engines.job import ExtractionJob
    from qatool.extraction.engines.keeper import Prepared
    from qatool.jobs.work import Part
    from qatool.jobs.workers.keepers import Keepers

MOST_WORKERS = 16
LAUNCHED = 2
"""Shards a card is told to read: the one it is at, and the next."""
_FIRST_AHEAD = 4
"""Shards to be prepared ahead; one more each time the card had to wait for one."""
_PAUSE_S = 0.005
_PATIENCE_S = 0.5
"""How long a second shard is waited for; none comes of a small input, and of a slow one the first need not wait."""


class _End:
    """Stands behind the last task."""


_END = _End()
PRELOAD = (
    "qatool.extraction.engines.keeper", "qatool.extraction.answering.part", "qatool.extraction.answering.extractor",
    "qatool.extraction.answering.setup", "qatool.models.identity", "qatool.models.loading",
    "qatool.spans.native", "tokenizers",
    "pandas",  # pyarrow imports it with the first array, where it is installed
)  # fmt: skip
"""What the processes beside a card import, done once for all."""


def default_workers() -> int:
    """Return how many processes prepare and decide: a core each, but two are left to read the input and launch."""
    return max(1, min(usable_cores() - 2, MOST_WORKERS))


class StagedExtraction:
    """Turns a corpus into parts of answers; see :class:`qatool.jobs.engines.staged.StagedWork`.

    :param workers: processes; a single shard needs none
    """

    def __init__(self, job: ExtractionJob, answerer: Answerer, *, workers: int) -> None:
        self._job, self._answerer = job, answerer
        self._workers = workers

    def units(self) -> Iterator[Shard]:
        """Yield the shards of the corpus; see :meth:`~qatool.extraction.engines.job.ExtractionJob.units`."""
        return self._job.units()

    def hand_out(self, unit: Shard) -> Task:
        """Return all that it takes to answer a shard, as :class:`~qatool.extraction.engines.job.ExtractionJob`."""
        return self._job.hand_out(unit)

    def parts(self, tasks: Iterator[Task | None], *, check: Callable[[], None]) -> Generator[FinishedUnit]:
        """Answer shards.

        :param tasks: ``None`` where the next has not been read yet
        :raises EnvironmentUnfitError: a process died
        :raises InputError: the model cannot read a row, and those are not skipped
        """
        first = list(_first_two(tasks))
        keepers: Keepers
        if len(first) < 2:
            keepers = LocalKeeper(partial(ShardKeeper, self._answerer))
        else:
            make = partial(ShardKeeper.in_process, self._answerer)
            keepers = ProcessKeepers(make, self._workers, preload=PRELOAD)
        with closing(keepers):
            reader = card_reader(self._answerer.extractor, check)
            yield from _Line(self._job, reader, keepers, chain(first, tasks), check=check).parts()


def _first_two(tasks: Iterator[Task | None]) -> Iterator[Task | None]:
    """Yield two tasks if there are as many; ``None`` for the second where it is long in coming."""
    begun = None
    while not isinstance(task := next(tasks, _END), _End):
        if task is not None or (begun is not None and time.monotonic() - begun > _PATIENCE_S):
            yield task
            if begun is not None:
                return
            begun = time.monotonic()


@dataclass(kw_only=True)
class _OnItsWay:
    """A shard, and how far it is; what is no longer needed of it is let go."""

    index: int
    keeper: int
    shard: Shard | None
    """``None`` where no sample of its answers is wanted."""
    prepared: Future[Prepared] | None
    launched: LaunchedShard | None = None
    decided: Future[tuple[Part, float]] | None = None
    content_hash: str = ""
    prepare_seconds: float = 0.0
    read_seconds: float = 0.0


class _Line:
    """Shards one behind the other: prepared, read, decided; each step as soon as it can be taken, in their order."""

    def __init__(
        self,
        job: ExtractionJob,
        reader: CardReader,
        keepers: Keepers,
        tasks: Iterator[Task | None],
        *,
        check: Callable[[], None],
    ) -> None:
        self._job, self._reader, self._keepers, self._tasks, self._check = job, reader, keepers, tasks, check
        self._preparing: deque[_OnItsWay] = deque()
        self._reading: deque[_OnItsWay] = deque()
        self._deciding: deque[_OnItsWay] = deque()
        self._most_ahead = keepers.count + 1
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
        """Have another shard prepared, unless enough of them are on their way."""
        ahead, behind = len(self._preparing), len(self._deciding)
        if self._is_over or ahead >= self._wanted_ahead or ahead + behind > 2 * self._keepers.count:
            return False
        task = next(self._tasks, _END)
        if task is None or isinstance(task, _End):
            self._is_over = task is not None
            return False
        keeper = self._keepers.least_busy()
        self._preparing.append(
            _OnItsWay(
                index=task.shard.index,
                keeper=keeper,
                shard=task.shard if self._job.wants_samples else None,
                prepared=self._keepers.call(keeper, ShardKeeper.prepare, task),
            )
        )
        return True

    def _launch(self) -> bool:
        """Tell the card to read the next shard that is prepared."""
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
        """Have the shard decided that the card is through with."""
        launched = self._reading[0].launched if self._reading else None
        if launched is None or not launched.ready():
            return False
        one = self._reading.popleft()
        one.launched = None
        spans, failed = self._reader.collect(launched)
        one.decided = self._keepers.call(one.keeper, ShardKeeper.decide, one.index, spans, failed)
        now = time.monotonic()
        one.read_seconds, self._last_read = now - self._last_read, now
        self._deciding.append(one)
        return True

    def _finish(self) -> FinishedUnit | None:
        """Return the part of the first shard on its way, if it is decided."""
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
        """Wait for a process; a card is asked again soon."""
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
    """Return what tells the card of an extractor what to read.

    :param check: called with every batch; may raise to stop
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
