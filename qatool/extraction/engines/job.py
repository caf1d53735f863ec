"""Extraction as a job: the shards of a corpus as units, what goes out to be answered, and what comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from qatool.errors import EnvironmentUnfitError
from qatool.extraction.answering.part import Task
from qatool.extraction.answering.previous import PreviousAnswers
from qatool.extraction.answering.sample import Sample
from qatool.extraction.answering.shards import cut_shards
from qatool.files.sources.rows import bad_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from qatool.extraction.answering.columns import AnswerColumns
    from qatool.extraction.answering.part import Answerer, Begun
    from qatool.extraction.answering.shards import Shard, ShardLimits
    from qatool.files.examples.corpus import Corpus
    from qatool.files.storage.locations import Location
    from qatool.jobs.work import Part
    from qatool.schema import Example

N_SAMPLES = 3


class InHand(NamedTuple):
    """How much a shard is."""

    examples: int
    windows: int

    def examples_at(self, windows: int) -> int:
        """Return how many examples ``windows`` read windows amount to, for the display."""
        return self.examples * windows // self.windows if self.windows else 0


class ExtractionJob:
    """A corpus to be answered, whoever does it; see :class:`qatool.jobs.engines.distributed.DistributedWork`.

    :param earlier: returns the files whose answers may be taken over; asked before every shard
    :param spool: returns where such answers may be copied to, see :class:`PreviousAnswers`
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
        """The shard being answered; nothing where several are at once."""
        self.samples: list[Sample] = []
        """A few answers of the first shards, with their contexts."""

    def units(self) -> Iterator[Shard]:
        """Yield the shards of the corpus.

        :raises InputError: the corpus cannot be read, or holds a bad row and those are not skipped
        """
        return cut_shards(self._checked(), self._limits, columns_signature=self._columns.signature)

    def hand_out(self, unit: Shard) -> Task:
        """Return all that it takes to answer a shard: what of it was answered before is found here.

        :raises InputError: an earlier output cannot be read
        """
        paths = self._earlier()
        if paths != self._previous[0]:
            self._previous = paths, PreviousAnswers(paths, self._spool)
        previous = self._previous[1]
        taken = None if previous is None else previous.taken(unit.fingerprints, self._columns.answers)
        return Task(shard=unit, taken=taken, kept=self._columns.kept)

    @property
    def wants_samples(self) -> bool:
        """Whether answers are still wanted to show at the end."""
        return len(self.samples) < N_SAMPLES

    def received(self, unit: Shard | None, part: Part) -> None:
        """Look at the answers to a shard before they are written.

        :param unit: the shard, ``None`` where no sample of it is wanted
        :raises InputError: the model cannot read a row, and those are not skipped
        """
        for reject in part.rejects if not self._skip_errors else ():
            raise bad_row(f"{reject['where']}: {reject['reason']}")
        if unit is not None and self.wants_samples:
            self._collect(unit, part)

    def give_up(self, unit: Shard, reason: str) -> Part:
        """Return a shard's part without any answer.

        :raises EnvironmentUnfitError: bad rows are not skipped
        """
        if not self._skip_errors:
            last = unit.first_row + len(unit.examples) - 1
            raise EnvironmentUnfitError(
                f"shard {unit.index} (rows {unit.first_row} to {last}): {reason}; the same command tries it again, "
                "and --on-error skip sets its rows aside"
            )
        return self._columns.refused(unit, f"not answered: {reason}")

    def _checked(self) -> Iterator[Example]:
        for example in self._corpus.examples():
            if example.error is not None and not self._skip_errors:
                raise bad_row(f"{example.where}: {example.error}")
            yield example

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
    """A job that this process does by itself; see :class:`qatool.jobs.work.Work`."""

    def __init__(self, job: ExtractionJob, answerer: Answerer) -> None:
        self._job = job
        self._answerer = answerer

    def units(self) -> Iterator[Shard]:
        """Yield the shards."""
        return self._job.units()

    def prepare(self, unit: Shard) -> Begun:
        """Tokenise and cut a shard; the model begins with it as soon as it has read those before."""
        return self._answerer.prepare(self._job.hand_out(unit))

    def finish(self, begun: Begun, tick: Callable[[int], None]) -> Part:
        """Answer a prepared shard.

        :raises InputError: see :meth:`ExtractionJob.received`
        """
        shard, windows = begun.prepared.shard, begun.prepared.examples.windows
        self._job.in_hand = InHand(examples=len(shard.examples), windows=len(windows))
        part = self._answerer.finish(begun, tick)
        self._job.received(shard, part)
        return part
