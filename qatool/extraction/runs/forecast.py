"""``--dry-run``: estimate the work and the time it will take, from a count of the input and a measured sample."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from qatool.extraction.answering.previous import PreviousAnswers
from qatool.extraction.answering.shards import Shard, cut_shards
from qatool.jobs.workers.processes import peak_memory_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qatool.extraction.answering.extractor import Extractor
    from qatool.extraction.answering.setup import Setup
    from qatool.files.examples.corpus import Corpus
    from qatool.files.storage.locations import Location
    from qatool.jobs.runfolder.folder import RunFolder
    from qatool.schema import Example

SAMPLE = 256
"""Size of the random sample of examples; all of it is tokenised, and as much read as the time for it allows."""
PROBE_SECONDS = 3.0
_BYTES_A_CONTEXT_BYTE = 40
"""Bytes of memory that a tokenised and answered shard takes for each byte of its contexts: a rough guide."""
_SHARDS_HELD = 2
"""Shards in memory at once: the one being answered and the one prepared ahead."""


@dataclass
class _Counts:
    examples: int = 0
    rejected: int = 0
    first_reject: str | None = None
    shards: int = 0
    done_shards: int = 0
    done_examples: int = 0
    taken_over: int = 0
    largest_shard: int = 0
    """The size of the largest shard, in bytes of context."""
    sample: list[Example] = field(default_factory=list)
    left: int = 0
    """Examples that are still to be answered; the sample is drawn from these."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """How much work a run is, and what it will take."""

    examples: int
    rejected: int
    """Bad rows among them."""
    first_reject: str | None
    """The first bad row and what is wrong with it, ``None`` where there is none."""
    unseen_columns: Sequence[str]
    """``--keep`` columns that no row has."""
    shards: int
    done_examples: int
    """Examples in shards that an earlier start has done."""
    done_shards: int
    taken_over: int
    """Examples whose answers are taken over."""
    windows: int
    """Windows still to be read."""
    tokens: int
    exact: bool
    """Whether windows and tokens were counted; else they are estimated from a sample."""
    seconds: float | None
    """Time for the rest, ``None`` where there is nothing to measure it on."""
    memory_bytes: int
    disk_bytes: int | None
    """Disk space needed while running; half of it remains. ``None`` where nothing was measured."""
    device: str
    workers: int | None = 1
    """Devices of this machine that share the work, ``None`` where the size of a cluster is not known yet."""

    def spread(self, *, workers: int | None, before: float = 0.0) -> Forecast:
        """Return this forecast for one device, adjusted for all the devices that will share the work.

        :param workers: see :attr:`workers`
        :param before: seconds of the work that is done only once, before answering begins
        """
        seconds = self.seconds
        if seconds is not None:
            # Processes that share the cores of a CPU are no faster together than one alone.
            shares = 1 if workers is None or self.device == "cpu" else workers
            seconds = round(seconds / shares + before, 1)
        return replace(self, seconds=seconds, workers=workers)


def forecast_of(setup: Setup, corpus: Corpus, *, folder: RunFolder | None, earlier: Sequence[Location]) -> Forecast:
    """Return a forecast for one device: count the input, and measure the work on a sample of it.

    :param folder: the folder of an unfinished run that would be continued; it is only read
    :param earlier: Parquet files that answers may be taken over from
    :raises InputError: an earlier file cannot be read
    """
    counts = _count(setup, corpus, folder, PreviousAnswers(earlier))
    scale = counts.left / max(1, len(counts.sample))
    # The sample is spread over the input: cutting its windows is quicker than looking them up in features.
    extractor = replace(setup.extractor, stored=None)
    lengths = extractor.prepare(_shard(counts.sample)).examples.lengths
    seconds_each, bytes_each = _probe(extractor, counts.sample)
    bytes_held = _SHARDS_HELD * _BYTES_A_CONTEXT_BYTE * counts.largest_shard
    return Forecast(
        examples=counts.examples,
        rejected=counts.rejected,
        first_reject=counts.first_reject,
        unseen_columns=corpus.unseen_columns() if counts.examples else [],
        shards=counts.shards,
        done_examples=counts.done_examples,
        done_shards=counts.done_shards,
        taken_over=counts.taken_over,
        windows=round(len(lengths) * scale),
        tokens=round(int(lengths.sum()) * scale),
        exact=len(counts.sample) == counts.left,
        seconds=None if seconds_each is None else round(seconds_each * len(lengths) * scale, 1),
        memory_bytes=peak_memory_bytes() + bytes_held,
        # Parts and the output exist side by side until the run folder is removed.
        disk_bytes=None if bytes_each is None else round(2 * bytes_each * counts.examples),
        device=setup.extractor.backend.device,
    )


def _count(setup: Setup, corpus: Corpus, folder: RunFolder | None, previous: PreviousAnswers) -> _Counts:
    """Cut the input into shards and draw a sample (reservoir sampling, Vitter's algorithm R)."""
    counts = _Counts()
    draw = random.Random(0)  # noqa: S311 (a sample, not a secret)
    for shard in cut_shards(
        corpus.examples(), setup.resolved.shard_limits, columns_signature=setup.extractor.columns.signature
    ):
        counts.shards += 1
        counts.examples += len(shard.examples)
        size = sum(len((example.context or "").encode("utf-8", "replace")) for example in shard.examples)
        counts.largest_shard = max(counts.largest_shard, size)
        is_done = folder is not None and folder.parts.is_done(shard)
        if is_done:
            counts.done_shards += 1
            counts.done_examples += len(shard.examples)
        for example, found in zip(shard.examples, previous.find(shard.fingerprints).tolist(), strict=True):
            if example.error is not None:
                counts.rejected += 1
                counts.first_reject = counts.first_reject or f"{example.where}: {example.error}"
                continue
            if is_done:
                continue
            if found >= 0 and not example.is_odd:
                counts.taken_over += 1
                continue
            counts.left += 1
            if len(counts.sample) < SAMPLE:
                counts.sample.append(example)
            elif (place := draw.randrange(counts.left)) < SAMPLE:
                counts.sample[place] = example
    return counts


def _probe(extractor: Extractor, sample: list[Example]) -> tuple[float | None, float | None]:
    """Answer larger and larger parts of the sample until the time is up.

    :returns: seconds per window and bytes of output per example; ``None`` where there are no windows or no examples
    """
    if not sample:
        return None, None
    size, spent, written = 1, 0.0, 0
    extractor.answer(extractor.prepare(_shard(sample[:1])))  # the first call is slow, and not representative
    while True:
        began = time.monotonic()
        part = extractor.answer(extractor.prepare(_shard(sample[:size])))
        spent = time.monotonic() - began
        sink = pa.BufferOutputStream()
        pq.write_table(part.table, sink, compression="zstd")
        written = sink.getvalue().size
        if size == len(sample) or spent > PROBE_SECONDS / 4:
            windows = part.counts["windows_read"]
            return spent / windows if windows else None, written / size
        size = min(4 * size, len(sample))


def _shard(sample: list[Example]) -> Shard:
    return Shard(index=0, first_row=0, examples=tuple(sample))
