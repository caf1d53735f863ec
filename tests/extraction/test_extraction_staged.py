"""Extraction in stages: the very same parts as shard by shard, in order, and nothing left behind."""

from __future__ import annotations

import io
import threading
import time
from collections import Counter
from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
import torch
from extractionhelpers import example, extractor
from support import processes_gone
from test_extraction_cardreader import DeviceArithmetic
from test_extraction_windowreader import PAIRS
from tokenizerhelpers import pair_tokenizer

from qatool.errors import InputError, OutputError
from qatool.extraction.answering.answerer import Answerer
from qatool.extraction.answering.shards import ShardLimits
from qatool.extraction.engines import staged
from qatool.extraction.engines.job import ExtractionJob, WorkHere
from qatool.extraction.engines.shardactor import ShardActor
from qatool.extraction.engines.staged import LAUNCHED, StagedExtraction, _Pipeline, card_reader, default_workers
from qatool.jobs.engines.monitor import RunMonitor, Totals
from qatool.jobs.engines.staged import run_staged
from qatool.jobs.stopping import Stop
from qatool.jobs.workers.actors import InProcessActor
from qatool.observers import SilentObserver

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from qatool.extraction.answering.extractor import Extractor
    from qatool.jobs.engines.staged import FinishedUnit
    from qatool.schema import Example

ROWS = [*PAIRS, ("who", " "), *PAIRS[:5]]


class Rows:
    """A corpus of the pairs."""

    def examples(self, *, refuse_bad: bool = False) -> Iterator[Example]:
        return (example(*pair, row=row) for row, pair in enumerate(ROWS))


def job_of(one: Extractor, *, rows: int = 4, corpus: Any = None) -> ExtractionJob:
    limits = ShardLimits(rows=rows, context_bytes=1 << 30)
    return ExtractionJob(corpus or Rows(), one.columns, limits, earlier=list, skip_errors=True)


def answerer_of(one: Extractor) -> Answerer:
    return Answerer(SimpleNamespace(resolved=None, extractor=one))


def staged_of(one: Extractor, *, workers: int = 1, **options: Any) -> StagedExtraction:
    return StagedExtraction(job_of(one, **options), answerer_of(one), workers=workers)


def parts_of(work: StagedExtraction, check: Callable[[], None] = lambda: None) -> Generator[FinishedUnit]:
    return work.parts(map(work.task_for, work.units()), check=check)


def device_extractor(**options: Any) -> Extractor:
    return extractor(
        pair_tokenizer("byte-level-bpe"), DeviceArithmetic(**options), top_k=3, batch_tokens=300, snippet=5
    )


def stored(part: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(part.table, sink)
    return sink.getvalue()


def nothing() -> None:
    """Go on."""


@pytest.mark.parametrize("workers", [1, 3])
def test_processes_give_the_very_same_parts(workers) -> None:
    one = device_extractor()
    expected = [(shard, one.answer(one.prepare(shard))) for shard in job_of(one).units()]
    made = list(parts_of(staged_of(one, workers=workers)))
    assert [m.index for m in made] == list(range(len(expected))) == list(range(7))
    for ours, (shard, part) in zip(made, expected, strict=True):
        assert stored(ours.part) == stored(part)
        assert ours.part.counts == part.counts
        assert ours.content_hash == shard.content_hash
        assert set(ours.stages) == {"prepare", "read"}
        assert min(ours.stages.values()) > 0
    assert processes_gone(1)


def test_a_single_shard_needs_no_process(monkeypatch) -> None:
    monkeypatch.setattr(staged, "ProcessActors", None)
    one = device_extractor()
    work = staged_of(one, workers=3, rows=1_000)
    (made,) = parts_of(work)
    (shard,) = work.units()
    assert stored(made.part) == stored(one.answer(one.prepare(shard)))
    assert list(work.parts(iter(()), check=nothing)) == []


def test_samples_are_those_of_the_first_shards() -> None:
    one = device_extractor()
    job, plain = job_of(one), job_of(one)
    list(parts_of(StagedExtraction(job, answerer_of(one), workers=1)))
    here = WorkHere(plain, answerer_of(one))
    for shard in here.units():
        here.finish(here.prepare(shard), lambda _: None)
    assert job.samples == plain.samples
    assert len(job.samples) == 3


class _Slow(InProcessActor):
    """Two actors that are done only when told to."""

    count = 2

    def __init__(self, make: Any) -> None:
        super().__init__(make)
        self.waiting: list[tuple[int, Future[Any], Any, tuple[Any, ...]]] = []

    def least_busy(self) -> int:
        busy = Counter(number for number, *_ in self.waiting)
        return min(range(self.count), key=lambda number: busy[number])

    def call(self, number: int, task: Any, /, *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append((number, future, task, args))
        return future

    def work(self) -> None:
        waiting, self.waiting = self.waiting, []
        for _, future, task, args in waiting:
            future.set_result(task(self._state, *args))


def test_shards_on_their_way_are_few() -> None:
    one = device_extractor()
    job = job_of(one, rows=1)
    actors = _Slow(lambda: ShardActor(answerer_of(one)))
    taken = finished = most = 0

    def units() -> Iterator[Any]:
        nonlocal taken
        for shard in job.units():
            taken += 1
            yield job.task_for(shard)

    def check() -> None:
        nonlocal most
        most = max(most, taken - finished)
        actors.work()

    for _ in _Pipeline(job, card_reader(one, check), actors, units(), check=check).parts():
        finished += 1
    assert finished == len(ROWS)
    assert LAUNCHED < most <= 2 * actors.count + LAUNCHED + 2


@pytest.mark.parametrize("are_quick", [True, False])
def test_more_actors_work_where_the_card_would_wait(are_quick) -> None:
    one = device_extractor()
    asked: list[int] = []
    most = 0

    class Actors(_Slow):
        count = 7

        def call(self, number: int, task: Any, /, *args: Any) -> Future[Any]:
            asked.append(number)
            future = super().call(number, task, *args)
            if are_quick:
                self.work()
            return future

    actors = Actors(lambda: ShardActor(answerer_of(one)))
    job = job_of(one, rows=1)
    checks = 0

    def check() -> None:
        nonlocal checks, most
        checks += 1
        most = max(most, len(line._preparing))
        if checks % 12 == 0:
            actors.work()

    line = _Pipeline(job, card_reader(one, nothing), actors, map(job.task_for, job.units()), check=check)
    assert [made.index for made in line.parts()] == list(range(len(ROWS)))
    assert most <= actors.count + 1
    if are_quick:
        assert set(asked) == {0}, "the one that knows the words"
        assert most <= staged._FIRST_AHEAD
    else:
        assert len(set(asked)) > staged._FIRST_AHEAD
        assert most > staged._FIRST_AHEAD


def test_a_card_has_the_next_shard_before_it_is_through() -> None:
    """The card is told of two shards before the first is asked for."""
    one = device_extractor()
    lane, told = one.backend.lane, []

    class Later:
        def __init__(self, coming: Any) -> None:
            self._coming = coming

        def ready(self) -> bool:
            return lane.downloads - len(told) == LAUNCHED or lane.downloads == 7

        def wait(self) -> Any:
            told.append(lane.downloads)
            return self._coming.wait()

    plain = lane.download
    lane.download = lambda values: Later(plain(values))
    job = job_of(one)
    actors = InProcessActor(lambda: ShardActor(answerer_of(one)))
    tasks = map(job.task_for, job.units())
    assert len(list(_Pipeline(job, card_reader(one, nothing), actors, tasks, check=nothing).parts())) == 7
    assert told == [2, 3, 4, 5, 6, 7, 7]


class Failing:
    """A decoder that gives up at the third shard it ranks."""

    def __init__(self, inner: Any) -> None:
        self._inner, self._left = inner, 2

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.__dict__["_inner"], name)

    def rank(self, read: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise InputError("rows:9: cannot be ranked")
        return self._inner.rank(read)


def test_what_goes_wrong_in_a_process_is_raised_in_its_place() -> None:
    one = device_extractor()
    one = replace(one, decoder=Failing(one.decoder))
    parts = parts_of(staged_of(one))
    assert [next(parts).index, next(parts).index] == [0, 1]
    with pytest.raises(InputError, match="rows:9: cannot be ranked"):
        next(parts)
    assert processes_gone()


def test_a_stop_ends_the_processes() -> None:
    one = device_extractor()
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls > 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(parts_of(staged_of(one, workers=2), check))
    assert processes_gone()


@pytest.mark.parametrize(
    ("there", "options", "expected"),
    [
        (True, {}, True),
        (True, {"device": "cuda", "backend": "torch"}, True),
        (True, {"device": "cpu"}, False),
        (True, {"backend": "constant"}, False),
        (False, {}, False),
    ],
)
def test_processes_are_begun_before_the_model_is_loaded(monkeypatch, there, options, expected) -> None:
    from qatool.extraction.engines import engine
    from qatool.options import ExtractOptions

    begun: list[str] = []

    def load(*_, **__):
        begun.append("model")
        raise LookupError

    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(engine, "begin_early", lambda _: begun.append("processes"))
    monkeypatch.setattr(engine, "load_setup", load)
    with pytest.raises(LookupError):
        engine._Here(ExtractOptions(inputs=("-",), output="-", **options), planned=None, features=None)
    assert begun == (["processes", "model"] if expected else ["model"])


class Store:
    """Keeps parts in memory."""

    def __init__(self, finished: dict[int, Any] | None = None) -> None:
        self.parts: dict[int, Any] = {}
        self._finished = finished or {}

    def finished(self, unit: Any) -> Any:
        return self._finished.get(unit.index)

    def commit(self, unit: Any, part: Any) -> None:
        self.parts[unit.index] = (unit.content_hash, part)


class Marker:
    def __init__(self) -> None:
        self.counts, self.rejects = {"examples": 4}, ()


def unwatched(stop: Stop) -> RunMonitor:
    return RunMonitor(stop=stop, tick=lambda _: None, done=lambda _: None)


def test_the_engine_passes_over_what_is_finished() -> None:
    store, totals, steps = Store({0: Marker(), 2: Marker()}), Totals(), []
    ticks: list[int] = []
    monitor = RunMonitor(
        stop=Stop(), tick=ticks.append, done=lambda step: steps.append((step.index, step.resumed)), totals=totals
    )
    run_staged(staged_of(device_extractor(), workers=1), store, monitor)
    assert sorted(store.parts) == [1, 3, 4, 5, 6]
    assert sorted(steps) == [(index, index in {0, 2}) for index in range(7)]
    assert (totals.units, totals.resumed_units) == (7, 2)
    assert sum(ticks) == totals.counts["windows_read"] > 0
    assert totals.counts["examples"] == len(ROWS)
    assert all(totals.stages[stage] > 0 for stage in ("prepare", "read", "write"))


@pytest.mark.parametrize("beside", [True, False])
def test_parts_are_written_beside_the_work_unless_somebody_reads_them(beside) -> None:
    threads, store = set(), Store()
    plain = store.commit

    def commit(unit: Any, part: Any) -> None:
        threads.add(threading.current_thread() is threading.main_thread())
        plain(unit, part)

    store.commit = commit  # type: ignore[method-assign]
    noted: list[int] = []
    monitor = RunMonitor(stop=Stop(), tick=lambda _: None, done=lambda step: noted.append(step.index))
    run_staged(staged_of(device_extractor(), workers=1), store, monitor, write_beside=beside)
    assert threads == {not beside}
    assert noted == list(store.parts) == list(range(7))
    assert monitor.totals.stages["write"] > 0


def test_a_part_that_cannot_be_written_ends_the_work() -> None:
    store = Store()
    plain = store.commit

    def commit(unit: Any, part: Any) -> None:
        if unit.index == 1:
            raise OutputError("part-1: no space left")
        plain(unit, part)

    store.commit = commit  # type: ignore[method-assign]
    noted: list[int] = []
    monitor = RunMonitor(stop=Stop(), tick=lambda _: None, done=lambda step: noted.append(step.index))
    with pytest.raises(OutputError, match="no space left"):
        run_staged(staged_of(device_extractor(), workers=1), store, monitor)
    assert noted == [0]
    assert processes_gone()


class Stalled(Rows):
    """A corpus that comes to a halt behind two shards."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def examples(self, *, refuse_bad: bool = False) -> Iterator[Example]:
        for number, one in enumerate(super().examples()):
            if number == 9:
                self.go_on.wait(60)
            yield one


def test_a_part_is_noted_while_the_input_stalls() -> None:
    """The time limit, which waits for the first part, and an error of writing are told at once."""
    from qatool.errors import OutOfTime

    for stop, error in ((Stop(max_duration=0.3, label="0.3s"), OutOfTime), (Stop(), OutputError)):
        corpus, store = Stalled(), Store()
        if error is OutputError:
            store.commit = refused  # type: ignore[method-assign]
        began = time.monotonic()
        with pytest.raises(error):
            run_staged(staged_of(device_extractor(), workers=1, corpus=corpus), store, unwatched(stop))
        assert time.monotonic() - began < 30
        corpus.go_on.set()
    assert processes_gone()


def refused(unit: Any, _: Any) -> None:
    raise OutputError(f"part-{unit.index}: no space left")


def test_nothing_is_written_behind_a_part_that_failed() -> None:
    store = Store()
    plain, tried = store.commit, []

    def commit(unit: Any, part: Any) -> None:
        tried.append(unit.index)
        if unit.index == 1:
            time.sleep(0.5)  # others come meanwhile
            refused(unit, part)
        plain(unit, part)

    store.commit = commit  # type: ignore[method-assign]
    with pytest.raises(OutputError, match="part-1"):
        run_staged(staged_of(device_extractor(), workers=1), store, unwatched(Stop()))
    assert tried == [0, 1]


def test_progress_never_tells_more_examples_than_there_are() -> None:
    from qatool.extraction.runs.progress import RunProgress

    class Counting(SilentObserver):
        shown, most = 0, 0

        def advanced(self, examples: int, windows: int) -> None:
            self.shown += examples
            self.most = max(self.most, self.shown)

    # Of the first shards every row is another, of the last all are the same, and read once.
    class Repeating(Rows):
        def examples(self, *, refuse_bad: bool = False) -> Iterator[Example]:
            return (example(*pair, row=row) for row, pair in enumerate([*ROWS, *[PAIRS[0]] * 12]))

    one, observer, totals = device_extractor(), Counting(), Totals()
    job = job_of(one, corpus=Repeating())
    progress = RunProgress(job, totals, total=len(ROWS) + 12, observer=observer)
    monitor = RunMonitor(stop=Stop(), tick=progress.tick, done=progress.done, totals=totals)
    run_staged(StagedExtraction(job, answerer_of(one), workers=2), Store(), monitor)
    assert observer.shown == observer.most == len(ROWS) + 12


class Broken(Rows):
    """A corpus that cannot be read to its end."""

    def examples(self, *, refuse_bad: bool = False) -> Iterator[Example]:
        yield from super().examples()
        raise InputError("rows:99: cannot be read")


def test_what_stands_before_an_unreadable_row_is_done_first() -> None:
    store = Store()
    with pytest.raises(InputError, match="rows:99: cannot be read"):
        run_staged(staged_of(device_extractor(), corpus=Broken()), store, unwatched(Stop()))
    assert list(store.parts) == list(range((len(ROWS) - 1) // 4))


def test_the_engine_stops_after_a_unit_when_time_is_up() -> None:
    from qatool.errors import OutOfTime

    store = Store()
    with pytest.raises(OutOfTime):
        run_staged(staged_of(device_extractor(), workers=1), store, unwatched(Stop(max_duration=0, label="0s")))
    assert list(store.parts) == [0]
    assert processes_gone()


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (2, 1), (3, 1), (16, 14), (200, 16)])
def test_workers_follow_the_cores(monkeypatch, cores, expected) -> None:
    monkeypatch.setattr(staged, "usable_cores", lambda: cores)
    assert default_workers() == expected
