"""Extraction as a job: the shards of a corpus as units, the extractor as the work on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from qatool.errors import InputError
from qatool.extraction.previous import PreviousAnswers
from qatool.extraction.shards import cut_shards
from qatool.screen import Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from qatool.extraction.extractor import Extractor, PreparedShard
    from qatool.extraction.shards import Shard, ShardLimits
    from qatool.files.corpus import Corpus
    from qatool.jobs.work import Part
    from qatool.schema import Example

N_SAMPLES = 3


def columns_of(extractor: Extractor) -> str:
    """Return in words what decides the columns of a part, whatever its rows."""
    return repr((list(extractor.kept), extractor.snippet, extractor.documents))


class InHand(NamedTuple):
    """How much a shard is."""

    examples: int
    windows: int

    def examples_at(self, windows: int) -> int:
        """Return how many examples ``windows`` read windows amount to, for the display."""
        return self.examples * windows // self.windows if self.windows else 0


class ExtractionWork:
    """Turns a corpus into parts of answers; see :class:`qatool.jobs.work.Work`.

    :param earlier: returns the files whose answers may be taken over; asked before every shard
    :param skip_errors: whether bad rows become rejected rows instead of ending the run
    """

    def __init__(
        self,
        corpus: Corpus,
        extractor: Extractor,
        limits: ShardLimits,
        *,
        earlier: Callable[[], list[Path]],
        skip_errors: bool,
    ) -> None:
        self._corpus = corpus
        self.extractor = extractor
        self._limits = limits
        self.earlier = earlier
        """Returns the files whose answers may be taken over, as they are now."""
        self._skip_errors = skip_errors
        self._previous: tuple[list[Path], PreviousAnswers | None] = ([], None)
        self.in_hand = InHand(examples=0, windows=0)
        """The shard being answered."""
        self.samples: list[Sample] = []
        """A few answers of the first shards, with their contexts."""

    def units(self) -> Iterator[Shard]:
        """Yield the shards of the corpus.

        :raises InputError: the corpus cannot be read, or holds a bad row and those are not skipped
        """
        return cut_shards(self._checked(), self._limits, columns=columns_of(self.extractor))

    def prepare(self, unit: Shard) -> PreparedShard:
        """Tokenise and cut a shard; find what of it was answered before."""
        paths = self.earlier()
        if paths != self._previous[0]:
            self._previous = paths, PreviousAnswers(paths)
        return self.extractor.prepare(unit, self._previous[1])

    def finish(self, prepared: PreparedShard, tick: Callable[[int], None]) -> Part:
        """Answer a prepared shard.

        :raises InputError: the model cannot read a row, and those are not skipped
        """
        self.in_hand = InHand(examples=len(prepared.shard.examples), windows=len(prepared.examples.windows))
        part = self.extractor.answer(prepared, tick)
        self.accept(prepared.shard, part)
        return part

    @property
    def wants_samples(self) -> bool:
        """Whether answers are still wanted to show at the end."""
        return len(self.samples) < N_SAMPLES

    def accept(self, shard: Shard | None, part: Part) -> None:
        """Look at a part before it is kept.

        :param shard: that it was made of, ``None`` for no sample of it
        :raises InputError: the model cannot read a row, and those are not skipped
        """
        for reject in part.rejects if not self._skip_errors else ():
            raise InputError(f"{reject['where']}: {reject['reason']}; add --on-error skip to set such rows aside")
        if shard is not None and self.wants_samples:
            self._collect(shard, part)

    def _checked(self) -> Iterator[Example]:
        for example in self._corpus.examples():
            if example.error is not None and not self._skip_errors:
                raise InputError(
                    f"{example.where}: {example.error}; mend the row, or add --on-error skip to set such rows aside"
                )
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
