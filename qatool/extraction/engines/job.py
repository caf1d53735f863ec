"""Extraction as a job: its units are the shards of a corpus; it hands out tasks and receives the parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from qatool.errors import EnvironmentUnfitError
from qatool.extraction.answering.answerer import Task
from qatool.extraction.answering.previous import PreviousAnswers
from qatool.extraction.answering.sample import Sample
from qatool.extraction.answering.shards import cut_shards
from qatool.files.sources.rows import bad_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from qatool.extraction.answering.answerer import Answerer, Begun
    from qatool.extraction.answering.columns import AnswerColumns
    from qatool.extraction.answering.shards import Shard, ShardLimits
    from qatool.files.examples.corpus import Corpus
    from qatool.files.storage.locations import Location
    from qatool.jobs.work import Part

N_SAMPLES = 3


class InHand(NamedTuple):
    """The size of the shard that is being answered."""

    examples: int
    windows: int

    def examples_at(self, windows: int) -> int:
        """Return the number of examples to display as done when ``windows`` windows of the shard have been read."""
        return self.examples * windows // self.windows if self.windows else 0


class ExtractionJob:
    """A corpus to be answered by any engine; see :class:`qatool.jobs.engines.distributed.DistributedWork`.

    :param earlier: returns the files whose answers may be taken over; called before every shard
    :param spool: returns the path that such answers may be copied to; see :class:`PreviousAnswers`
    :param skip_errors: whether bad rows become rejected rows instead of ending the run
    """

    def __init__(
        self,
        corpus: Corpus,
        columns: AnswerColumns,
        limits: ShardLimits,
        *,
        earlier: Callable[[], list[Location]],
        spool: Callable[[], Path | None] = lambda: None,
        skip_errors: bool,
    ) -> None:
        self._corpus = corpus
        self._columns = columns
        self._limits = limits
        self._earlier = earlier
        self._spool = spool
        self._skip_errors = skip_errors
        self._previous: tuple[list[Location], PreviousAnswers | None] = ([], None)
        self.in_hand = InHand(examples=0, windows=0)
        """The size of the shard being answered; 0 examples and windows where several are answered at once."""
        self.samples: list[Sample] = []
        """A few answers of the first shards, with their contexts."""

    def units(self) -> Iterator[Shard]:
        """Yield the shards of the corpus.

        :raises InputError: the corpus cannot be read, or holds a bad row and bad rows are not skipped
        """
        examples = self._corpus.examples(refuse_bad=not self._skip_errors)
        return cut_shards(examples, self._limits, columns_signature=self._columns.signature)

    def task_for(self, unit: Shard) -> Task:
        """Return the task of answering a shard, with the earlier answers to its examples.

        :raises InputError: an earlier output cannot be read
        """
        paths = self._earlier()
        if paths != self._previous[0]:
            self._previous = paths, PreviousAnswers(paths, self._spool)
        previous = self._previous[1]
        taken = None if previous is None else previous.taken(unit.fingerprints, self._columns.answers)
        return Task(shard=unit, taken=taken, columns=self._columns)

    @property
    def wants_samples(self) -> bool:
        """Whether more samples are wanted to show at the end of the run."""
        return len(self.samples) < N_SAMPLES

    def received(self, unit: Shard | None, part: Part) -> None:
        """Check a part before it is written, and take samples from it.

        :param unit: the shard, ``None`` where no sample of it is wanted
        :raises InputError: the part has a rejected row, and bad rows are not skipped
        """
        for reject in part.rejects if not self._skip_errors else ():
            raise bad_row(f"{reject['where']}: {reject['reason']}")
        if unit is not None and self.wants_samples:
            self._collect(unit, part)

    def give_up(self, unit: Shard, reason: str) -> Part:
        """Return a part in which every row of a shard is rejected.

        :raises EnvironmentUnfitError: bad rows are not skipped
        """
        if not self._skip_errors:
            last = unit.first_row + len(unit.examples) - 1
            raise EnvironmentUnfitError(
                f"shard {unit.index} (rows {unit.first_row} to {last}): {reason}; the same command tries it again, "
                "and --on-error skip sets its rows aside"
            )
        return self._columns.refused(unit, f"not answered: {reason}")

    def _collect(self, shard: Shard, part: Part) -> None:
        """Keep answers from across the shard to show at the end."""
        answered = [row for row, answer in enumerate(part.table["answer"].to_pylist()) if answer is not None]
        for row in answered[:: max(1, len(answered) // N_SAMPLES)][: N_SAMPLES - len(self.samples)]:
            example = shard.examples[row]
            self.samples.append(
                Sample(
                    id=example.id or "",
                    question=example.question or "",
                    context=example.context or "",
                    answer_start=part.table["answer_start"][row].as_py(),
                    answer_end=part.table["answer_end"][row].as_py(),
                    score=part.table["score"][row].as_py(),
                )
            )


class WorkHere:
    """A job that is done in this process; see :class:`qatool.jobs.work.Work`."""

    def __init__(self, job: ExtractionJob, answerer: Answerer) -> None:
        self._job = job
        self._answerer = answerer

    def units(self) -> Iterator[Shard]:
        """Yield the shards."""
        return self._job.units()

    def prepare(self, unit: Shard) -> Begun:
        """Tokenise and cut a shard, and queue it for the model behind the shards prepared before."""
        return self._answerer.prepare(self._job.task_for(unit))

    def finish(self, begun: Begun, tick: Callable[[int], None]) -> Part:
        """Answer a prepared shard.

        :raises InputError: see :meth:`ExtractionJob.received`
        """
        shard, windows = begun.prepared.shard, begun.prepared.examples.windows
        self._job.in_hand = InHand(examples=len(shard.examples), windows=len(windows))
        part = self._answerer.finish(begun, tick)
        self._job.received(shard, part)
        return part
