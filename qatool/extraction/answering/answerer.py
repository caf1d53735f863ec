"""Turn a shard into a part: the one task that every engine has done, in whatever process, on whatever machine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from qatool.extraction.answering.cardreader import device_backend
from qatool.jobs.workers.pool import DEFAULT_SLOTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from qatool.extraction.answering.columns import AnswerColumns
    from qatool.extraction.answering.extractor import Extractor, PreparedShard
    from qatool.extraction.answering.previous import TakenAnswers
    from qatool.extraction.answering.resolved import Resolved
    from qatool.extraction.answering.setup import Setup
    from qatool.extraction.answering.shards import Shard
    from qatool.extraction.answering.windowreader import LaunchedWindows, WindowReader
    from qatool.jobs.work import Part


@dataclass(frozen=True, kw_only=True)
class Task:
    """Everything needed to answer a shard, besides the model."""

    shard: Shard
    taken: TakenAnswers | None
    """Earlier answers to examples of the shard."""
    columns: AnswerColumns
    """The columns of the part."""


class Begun(NamedTuple):
    """A prepared shard, whether its reading has been launched or not."""

    prepared: PreparedShard
    launched: LaunchedWindows | None
    """``None`` where reading is launched only in :meth:`Answerer.finish`."""


class Answerer:
    """Answers shards with a model that it holds; see :class:`qatool.jobs.workers.pool.Worker`."""

    slots = DEFAULT_SLOTS

    def __init__(self, setup: Setup) -> None:
        self.about: Resolved = setup.resolved
        """The resolved options; they must be the same in all workers of a run."""
        self.extractor: Extractor = setup.extractor
        self._reader: WindowReader | None = None

    def cut(self, task: Task) -> PreparedShard:
        """Tokenise and cut a shard.

        :raises InputError: its features cannot be read
        """
        # They are the same for all shards of a run, but unknown when the model is loaded.
        if task.columns != self.extractor.columns:
            self.extractor = replace(self.extractor, columns=task.columns)
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
        """Drop the shards that are launched but not finished; one that is still being prepared is no longer read."""
        if self._reader is None:
            self._reader = self.extractor.reader()
        self._reader.close()
