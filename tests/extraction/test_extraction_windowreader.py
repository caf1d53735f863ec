"""Batches: their size, what happens when one is too large or gives no numbers, and that nothing hangs on them."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest
import torch
from backendhelpers import ArithmeticBackend
from extractionhelpers import about, answers, extractor, shard_of
from support import FIXTURES
from tokenizerhelpers import pair_tokenizer, questions, texts

from qatool.extraction.answering.extractor import MODEL_FAILED
from qatool.extraction.answering.windowreader import WindowReader
from qatool.models.openvino.conversion import converted
from qatool.models.recorded import RecordedBackend
from qatool.spans.search import SpanTable

PAIRS = [(questions()[i], text[: 40 + 17 * i]) for i, text in enumerate(texts()[8:30])]
BAD = 7


def token_of_mark() -> int:
    """A token that only the bad example has: the bytes of a letter no other text contains."""
    tokenizer = pair_tokenizer("byte-level-bpe")
    others = set(tokenizer.tokenize([text for pair in PAIRS for text in pair]).input_ids.tolist())
    own = tokenizer.tokenize([MARK_TEXT]).input_ids.tolist()
    return next(token for token in own if token not in others)


MARK_TEXT = "\U000e0041\u16a0 the end"


def marked() -> list[tuple[str, str]]:
    pairs = list(PAIRS)
    pairs[BAD] = (pairs[BAD][0], pairs[BAD][1] + MARK_TEXT)
    return pairs


@pytest.mark.parametrize("mode", ["native", "squad-script", "hf-pipeline"])
@pytest.mark.parametrize("most", [40, 77, 300])
def test_split_batches_give_the_same_answers(mode, most) -> None:
    whole = answers(extractor(mode=mode, top_k=3, batch_tokens=4_000), PAIRS)
    backend = ArithmeticBackend(most_tokens=most)
    split = answers(extractor(mode=mode, top_k=3, batch_tokens=4_000, backend=backend), PAIRS)
    assert split == about(whole)
    assert all(rows * width <= most for rows, width in backend.batches)


@pytest.mark.parametrize("fault", ["refused_id", "nan_id"])
@pytest.mark.parametrize("mode", ["native", "squad-script", "hf-pipeline"])
def test_a_window_that_cannot_be_read_spoils_its_example_only(mode, fault) -> None:
    backend = ArithmeticBackend(**{fault: token_of_mark()})
    tokenizer = pair_tokenizer("byte-level-bpe")
    options = {"mode": mode, "top_k": 3, "max_length": 64}
    clean = answers(extractor(tokenizer, **options), marked())
    one = extractor(tokenizer, backend, **options)
    part = one.answer(one.prepare(shard_of(marked())))
    rows = part.table.to_pylist()
    assert rows[BAD]["error"] == MODEL_FAILED
    assert clean[BAD]["n_windows"] > 1
    assert {rows[BAD][name] for name in ("answer", "answer_start", "score", "no_answer_score", "n_windows")} == {None}
    assert rows[BAD]["candidates"] is None
    assert rows[:BAD] + rows[BAD + 1 :] == about(clean[:BAD] + clean[BAD + 1 :])
    assert part.rejects == [{"row": BAD, "id": str(BAD), "where": f"rows:{BAD + 1}", "reason": MODEL_FAILED}]
    assert part.counts["rejected"] == 1


def test_nothing_can_be_read() -> None:
    rows = answers(extractor(backend=ArithmeticBackend(most_tokens=1)), PAIRS[:3])
    assert [row["error"] for row in rows] == [MODEL_FAILED] * 3


@pytest.mark.parametrize("batch_tokens", [1, 64, 200, 1_000])
def test_batches_respect_their_size(batch_tokens) -> None:
    backend = ArithmeticBackend()
    one = extractor(backend=backend, batch_tokens=batch_tokens)
    prepared = one.prepare(shard_of(PAIRS))
    one.answer(prepared)
    assert sum(rows for rows, _ in backend.batches) == len(prepared.examples.windows)
    assert all(rows * width <= batch_tokens or rows == 1 for rows, width in backend.batches)
    widths = [width for _, width in backend.batches]
    assert widths == sorted(widths)
    fewer = extractor(backend=ArithmeticBackend(), batch_tokens=10**9)
    assert answers(fewer, PAIRS) == about(answers(one, PAIRS))


def test_batches_are_full() -> None:
    backend = ArithmeticBackend()
    answers(extractor(backend=backend, batch_tokens=200), PAIRS)
    for (rows, _), (_, following) in zip(backend.batches, backend.batches[1:], strict=False):
        assert (rows + 1) * following > 200


@pytest.mark.parametrize("most", [1 << 30, pytest.param(77, id="split")])
def test_ticks_count_each_window_once(most) -> None:
    one = extractor(backend=ArithmeticBackend(most_tokens=most), batch_tokens=400)
    prepared = one.prepare(shard_of(PAIRS))
    ticks: list[int] = []
    one.answer(prepared, ticks.append)
    assert sum(ticks) == len(prepared.examples.windows)


def test_the_order_of_examples_changes_nothing() -> None:
    order = np.random.default_rng(3).permutation(len(PAIRS))
    plain = answers(extractor(top_k=3), PAIRS)
    shuffled = answers(extractor(top_k=3), [PAIRS[i] for i in order])
    for row, i in zip(shuffled, order.tolist(), strict=True):
        assert [{**row, "id": plain[i]["id"]}] == about([plain[i]])


def test_no_windows() -> None:
    one = extractor()
    prepared = one.prepare(shard_of([("who", " ")]))
    reader = WindowReader(backend=one.backend, search=one.decoder.search, batch_tokens=100)
    spans, failed = reader.read(prepared.examples, None)
    assert len(failed) == 0
    for field in dataclasses.fields(SpanTable):
        assert len(getattr(spans, field.name)) == 0


FIRST_USE = """
import faulthandler, sys, threading, time
faulthandler.dump_traceback_later(60, exit=True)
import builtins, collections, numpy.lib

seen = collections.Counter()

def slowly(function):
    def slow(name, *args, **kwargs):
        if threading.current_thread() is not threading.main_thread():
            seen[str(name)] += 1
            time.sleep(0.3 if seen[str(name)] < 4 else 0)
        return function(name, *args, **kwargs)
    return slow

from qatool.cli import main
builtins.__import__ = slowly(__import__)
numpy.lib.NumpyVersion = slowly(numpy.lib.NumpyVersion)
main()
"""


def test_threads_do_not_meet_at_the_first_use_of_a_library(tiny_model, tmp_path) -> None:
    """Each look-up of a module gives way to the other thread, as it does when files are read from a cold disk."""
    converted(str(tiny_model))  # or converting would be the first use, before there are threads
    options = ["--model", tiny_model, "--backend", "openvino", "--workers", "2", "--max-windows", "1"]
    command = [sys.executable, "-c", FIRST_USE, "extract", FIXTURES / "corpus.parquet", "-o", tmp_path / "a.parquet"]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class TwoStreams(ArithmeticBackend):
    """Takes two batches at once and notes which threads asked, with how many threads of torch each."""

    streams = 2

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.asked: set[tuple[str, int]] = set()

    def logits(self, batch: Any) -> Any:
        self.asked.add((threading.current_thread().name, torch.get_num_threads()))
        time.sleep(0.002)
        return super().logits(batch)


@pytest.mark.parametrize("mode", ["native", "squad-script", "hf-pipeline"])
@pytest.mark.parametrize("most", [1 << 30, pytest.param(77, id="split")])
def test_streams_give_the_very_same_answers(mode, most) -> None:
    one = answers(extractor(mode=mode, backend=ArithmeticBackend(most_tokens=most), batch_tokens=200), PAIRS)
    backend = TwoStreams(most_tokens=most)
    two = answers(extractor(mode=mode, backend=backend, batch_tokens=200), PAIRS)
    assert two == one
    assert len(backend.asked) == 2
    assert {threads for _, threads in backend.asked} == {1}
    assert "MainThread" not in {name for name, _ in backend.asked}


def test_a_stop_between_batches_ends_the_streams() -> None:
    before, threads = torch.get_num_threads(), threading.active_count()
    backend = TwoStreams()
    one = extractor(backend=backend, batch_tokens=64)
    prepared = one.prepare(shard_of(PAIRS))

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        one.answer(prepared, stop)
    read = len(backend.batches)
    time.sleep(0.1)
    assert len(backend.batches) <= read + 2 < len(prepared.examples.windows)
    assert torch.get_num_threads() == before
    assert threading.active_count() <= threads + 2


def test_what_goes_wrong_in_a_stream_is_raised() -> None:
    class Broken(TwoStreams):
        def logits(self, batch: Any) -> Any:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        answers(extractor(backend=Broken(), batch_tokens=200), PAIRS)


@pytest.mark.parametrize("most", [1 << 30, pytest.param(77, id="split")])
def test_what_is_recorded_needs_no_model_whichever_stream_asks(most) -> None:
    one = answers(extractor(backend=ArithmeticBackend(most_tokens=most), batch_tokens=200), PAIRS)
    backend = TwoStreams(most_tokens=most)
    recorded = extractor(backend=RecordedBackend(backend), batch_tokens=200)
    assert answers(recorded, PAIRS) == one
    assert len(backend.asked) == 2
    assert {threads for _, threads in backend.asked} == {1}
    read = len(backend.batches)
    backend.most_tokens = 0
    assert answers(recorded, PAIRS) == one
    assert len(backend.batches) == read


@pytest.mark.parametrize(("name", "expected"), [("torch", 2), ("openvino", 1)])
def test_what_openvino_is_recorded_at_is_read_one_batch_at_a_time(name, expected) -> None:
    backend = TwoStreams()
    backend.name = name
    assert RecordedBackend(backend).streams == expected
