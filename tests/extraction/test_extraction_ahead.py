"""Shards read one behind the other: the model begins with the next one while the last batches of another are read."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from backendhelpers import ArithmeticBackend
from extractionhelpers import extractor, shard_of
from tokenizerhelpers import questions, texts

from qatool.extraction.answering.answerer import Answerer, Begun, Task

SHARDS = [shard_of([(questions()[i], texts()[8 + i])]) for i in range(3)]
WAIT_S = 20


class HeldBack(ArithmeticBackend):
    """Reads two batches at once, but none before it may; batches come in the order they were asked for."""

    streams = 2

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.may, self.idle = threading.Semaphore(1), threading.Semaphore(0)

    def logits(self, batch: Any) -> Any:
        self.idle.release()
        assert self.may.acquire(timeout=WAIT_S)
        return super().logits(batch)


def answerer(backend: ArithmeticBackend) -> Answerer:
    """One that has each window read by itself, and whose backend is past its first batch."""
    one = extractor(backend=backend, batch_tokens=1)
    return Answerer(SimpleNamespace(resolved=None, extractor=one))  # type: ignore[arg-type]


def prepared(one: Answerer, shard: Any) -> Begun:
    return one.prepare(Task(shard=shard, taken=None, columns=one.extractor.columns))


def nothing(_: int) -> None:
    pass


def test_the_next_shard_is_begun_before_the_last_one_is_decided() -> None:
    backend = HeldBack()
    with closing(answerer(backend)) as one:
        first, second = prepared(one, SHARDS[0]), prepared(one, SHARDS[1])
        size = len(first.prepared.examples.windows)
        for _ in range(size):
            backend.may.release()
        deadline = time.monotonic() + WAIT_S
        while len(backend.batches) <= size and time.monotonic() < deadline:
            time.sleep(0.001)
        assert len(backend.batches) == size + 1, "it reads on before anybody asks for the first shard's answers"
        # Either thread may have read on: the first shard's last batch may still wait for its turn.
        for _ in range(len(second.prepared.examples.windows)):
            backend.may.release()
        parts = [one.finish(first, nothing), one.finish(second, nothing)]
    plain = extractor(batch_tokens=1)
    for part, shard in zip(parts, SHARDS, strict=False):
        assert part.table.equals(plain.answer(plain.prepare(shard)).table)


def test_shards_may_be_finished_in_any_order() -> None:
    backend = ArithmeticBackend()
    backend.streams = 2
    with closing(answerer(backend)) as one:
        begun = [prepared(one, shard) for shard in SHARDS]
        tables = [one.finish(shard, nothing).table for shard in reversed(begun)]
    plain = extractor(batch_tokens=1)
    assert all(
        table.equals(plain.answer(plain.prepare(shard)).table)
        for table, shard in zip(reversed(tables), SHARDS, strict=True)
    )


def test_closing_drops_what_is_not_read_and_leaves_no_thread() -> None:
    threads, before = threading.active_count(), torch.get_num_threads()
    backend = HeldBack()
    one = answerer(backend)
    begun = [prepared(one, shard) for shard in SHARDS]
    assert threading.active_count() > threads
    for _ in range(2):
        assert backend.idle.acquire(timeout=WAIT_S)
    one.close()
    for _ in range(100):
        backend.may.release()
    deadline = time.monotonic() + WAIT_S
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.001)
    assert threading.active_count() == threads
    assert len(backend.batches) <= 3 < sum(len(shard.prepared.examples.windows) for shard in begun)
    assert torch.get_num_threads() == before
    one.close()


@pytest.mark.parametrize("began", [True, False])
def test_a_shard_prepared_after_closing_is_not_read(began) -> None:
    """As when a run is interrupted while a thread is still at a long text."""
    threads = threading.active_count()
    backend = ArithmeticBackend()
    backend.streams = 2
    one = answerer(backend)
    if began:
        one.finish(prepared(one, SHARDS[0]), nothing)
    read = len(backend.batches)
    one.close()
    with pytest.raises(RuntimeError, match="closed"):
        prepared(one, SHARDS[1])
    assert len(backend.batches) == read
    deadline = time.monotonic() + WAIT_S
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.001)
    assert threading.active_count() == threads


def test_what_goes_wrong_in_a_shard_is_told_with_it_and_the_next_is_answered() -> None:
    class Broken(ArithmeticBackend):
        streams = 2
        broken = True

        def logits(self, batch: Any) -> Any:
            if self.broken:
                raise ZeroDivisionError
            return super().logits(batch)

    backend = Broken()
    with closing(answerer(backend)) as one:
        first = prepared(one, SHARDS[0])
        with pytest.raises(ZeroDivisionError):
            one.finish(first, nothing)
        backend.broken = False
        assert one.finish(prepared(one, SHARDS[1]), nothing).counts["examples"] == 1
