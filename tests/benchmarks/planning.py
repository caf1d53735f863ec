"""What the process that plans and writes a large run spends, apart from the model: seconds and memory up to 10⁹ rows.

    python tests/benchmarks/planning.py [--rows 1e9] [--shard-rows 16384] [--workers 1000] [--sample 200000]

Scheduling and the listing of what is done run at full size: as many shards as so many rows make, through the engine
itself, with workers that give their part back at once. What costs by the row (reading, cutting, hashing, packing for
another process) and by the part (writing, resuming, assembling into a folder) is measured on a sample and scaled up,
and marked so. Nothing reads a model.
"""

from __future__ import annotations

import argparse
import pickle
import resource
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from common import machine
from growth import write_rows

from qatool.extraction.answering.answerer import Task
from qatool.extraction.answering.columns import AnswerColumns
from qatool.extraction.answering.shards import ShardLimits, cut_shards
from qatool.files.examples.corpus import open_corpus
from qatool.files.output.answers import open_writer
from qatool.files.output.targets import parse_target
from qatool.files.sources.paths import resolve
from qatool.jobs.engines.distributed import run_distributed
from qatool.jobs.engines.monitor import RunMonitor
from qatool.jobs.runfolder.folder import RunFolder
from qatool.jobs.stopping import Stop
from qatool.jobs.work import Part
from qatool.jobs.workers.pool import Assignments, Event, Returned, TaskOutcome

COLUMNS = AnswerColumns(documents=False, snippet=None, kept={})
CONTEXT_WORDS = 130
"""Some 700 characters."""
PARTS = 200
"""Parts that are written, read back and assembled as a sample."""


class Unit:
    """A shard without its rows."""

    content_hash = ""

    def __init__(self, index: int) -> None:
        self.index = index


class InstantPool:
    """So many workers that do their tasks in no time."""

    def __init__(self, workers: int) -> None:
        self._assignments: Assignments[int] = Assignments(lambda first, other: None)
        for worker in range(workers):
            self._assignments.join(worker, None)
        self._back: deque[tuple[int, int]] = deque()
        part = Part(table=pa.table({}), counts={"examples": 1, "windows_read": 1})
        self._outcome = TaskOutcome(part=part, prepare_seconds=0.0, finish_seconds=0.0, amount=1)

    @property
    def size(self) -> int:
        return len(self._assignments)

    @property
    def slots(self) -> int:
        return self._assignments.slots

    def about(self, check: Callable[[], None]) -> None:
        return None

    def give(self, index: int, task: object, *, alone: bool) -> bool:
        worker = self._assignments.assign(index, alone=alone)
        if worker is not None:
            self._back.append((worker, index))
        return worker is not None

    def events(self, timeout: float) -> list[Event]:
        found: list[Event] = []
        while self._back:
            worker, index = self._back.popleft()
            self._assignments.release(worker, index)
            found.append(Returned(index, self._outcome))
        return found


class EmptyJob:
    """So many shards, and nowhere to put their parts."""

    def __init__(self, shards: int) -> None:
        self._shards = shards

    def units(self) -> Iterator[Unit]:
        return map(Unit, range(self._shards))

    def task_for(self, unit: Unit) -> None:
        return None

    def received(self, unit: Unit, part: Part) -> None: ...

    def give_up(self, unit: Unit, reason: str) -> Part:
        raise NotImplementedError

    def finished(self, unit: Unit, /) -> None:
        return None

    def commit(self, unit: Unit, part: Part) -> None: ...


class Clock:
    """Seconds of the last block: by the wall, and of the processor, which other programs lengthen less."""

    seconds = cpu = 0.0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        began, cpu = time.perf_counter(), time.process_time()
        yield
        self.seconds, self.cpu = time.perf_counter() - began, time.process_time() - cpu


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def line(what: str, clock: Clock, *, scale: float | None, per: str, count: int, note: str = "") -> None:
    """Print what something takes at full size, and each of the ``count`` rows, shards or parts that were measured."""
    full = scale or 1.0
    each = f"{1e6 * clock.cpu / count:,.1f} µs of CPU a {per}" + (f", {note}" if note else "")
    about = "measured" if scale is None else "scaled"
    print(f"| {what} | {full * clock.seconds:,.0f} | {full * clock.cpu:,.0f} | {about} | {each} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=float, default=1e9)
    parser.add_argument("--shard-rows", type=int, default=16_384)
    parser.add_argument("--workers", type=int, default=1_000)
    parser.add_argument("--sample", type=int, default=200_000, help="rows that are really read")
    asked = parser.parse_args()
    shards = -(-int(asked.rows) // asked.shard_rows)
    print(f"{machine()}\n{asked.rows:,.0f} rows, {shards:,} shards, {asked.workers:,} workers\n")
    print("| | seconds | of CPU | | |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory(prefix="qatool-planning-") as folder:
        schedule(shards, asked.workers)
        parts = read(Path(folder), asked.sample, asked.shard_rows, asked.rows)
        write_and_list(Path(folder), parts, shards)
    print(f"\npeak memory {peak_mib():,.0f} MiB, the sample and its parts included")


def schedule(shards: int, workers: int) -> None:
    """Run all shards through the engine."""
    clock, before, done = Clock(), peak_mib(), []
    job = EmptyJob(shards)
    with clock():
        monitor = RunMonitor(stop=Stop(), tick=lambda _: None, done=lambda step: done.append(step.index))
        run_distributed(job, InstantPool(workers), job, monitor)
    assert len(done) == shards
    note = f"{peak_mib() - before:,.0f} MiB more than before"
    line("scheduling", clock, scale=None, per="shard", count=shards, note=note)


def read(folder: Path, sample: int, shard_rows: int, rows: float) -> list[Part]:
    """Read, cut, hash and pack a sample; return parts of about the size of real ones."""
    path, clock = folder / "sample.parquet", Clock()
    write_rows(path, sample, words=CONTEXT_WORDS)
    limits = ShardLimits(rows=shard_rows, context_bytes=1 << 40)
    with clock():
        shards = list(
            cut_shards(open_corpus(resolve([str(path)])).examples(), limits, columns_signature=COLUMNS.signature)
        )
    scale = rows / sample
    line("reading and cutting", clock, scale=scale, per="row", count=sample)
    with clock():
        for shard in shards:
            assert shard.content_hash
    line("hashing", clock, scale=scale, per="row", count=sample)
    with clock():
        packed = sum(len(pickle.dumps(Task(shard=shard, taken=None, columns=COLUMNS))) for shard in shards)
    note = f"{packed / sample:,.0f} bytes a row"
    line("packing for the workers", clock, scale=scale, per="row", count=sample, note=note)
    return [COLUMNS.refused(shard, "made up") for shard in shards]


def write_and_list(folder: Path, parts: list[Part], shards: int) -> None:
    """Make parts durable, find them again, and put them into a folder."""
    clock, scale = Clock(), shards / PARTS
    with RunFolder(folder / "run") as run:
        run.parts.identity = "planning"
        with clock():
            for index in range(PARTS):
                run.parts.commit(Unit(index), parts[index % len(parts)])
        line("parts and markers", clock, scale=scale, per="part", count=PARTS)
        with clock():
            found = sum(run.parts.finished(Unit(index)) is not None for index in range(PARTS))
        assert found == PARTS
        line("finding them when resumed, besides reading again", clock, scale=scale, per="part", count=PARTS)
        target = parse_target(str(folder / "answers"))
        with clock():
            schema = run.parts.schema(PARTS)
            with open_writer(target, schema, dict, staging=folder / "staging") as writer:
                for table in run.parts.tables(PARTS, schema):
                    writer.write(table)
        line("assembling into a folder", clock, scale=scale, per="part", count=PARTS)


if __name__ == "__main__":
    main()
