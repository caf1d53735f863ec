"""Rates of a card and of each stage of an extraction by itself, and how long the card is busy."""

from __future__ import annotations

import os
import pickle
import statistics
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import torch

from qatool.extraction.answering.cardreader import CardReader, CardShard, _Uploaded, device_backend
from qatool.extraction.answering.setup import load_setup
from qatool.extraction.answering.shards import ShardLimits, cut_shards
from qatool.files.examples.corpus import open_corpus
from qatool.files.sources.paths import resolve
from qatool.models.arithmetic import window_flops
from qatool.models.companions import load_config
from qatool.options import ExtractOptions
from qatool.schema import Example

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

KINDS = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def timed(work: Callable[[], object], device: torch.device, *, repeats: int = 1) -> float:
    """Return the median of the seconds that work takes; on a card by its own events."""
    found = []
    for _ in range(repeats):
        if device.type == "cuda":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            work()
            end.record()
            torch.cuda.synchronize(device)
            found.append(begin.elapsed_time(end) / 1_000)
        else:
            began = time.perf_counter()
            work()
            found.append(time.perf_counter() - began)
    return statistics.median(found)


def ceilings(device: torch.device, *, small: bool) -> dict[str, Any]:
    """Return the rates of matrix products, and of copies within the device and to it and back.

    :param small: for a rehearsal
    """
    side, size, repeats = (256, 1 << 20, 3) if small else (8_192, 2 << 30, 30)
    products = {}
    for name, kind in KINDS.items():
        if small and name == "fp16":
            continue
        # Numbers drawn at random: zeros take less power, and so less time.
        one, other = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
        out = torch.empty_like(one)
        timed(lambda one=one, other=other, out=out: torch.mm(one, other, out=out), device, repeats=5)
        seconds = timed(lambda one=one, other=other, out=out: torch.mm(one, other, out=out), device, repeats=repeats)
        products[name] = 2 * side**3 / seconds / 1e12
    values = torch.randint(0, 255, (size,), dtype=torch.uint8, device=device)
    there = torch.empty_like(values)
    timed(lambda: there.copy_(values), device, repeats=3)
    found: dict[str, Any] = {
        "matmul_teraflops": products,
        # Each byte is read once and written once.
        "copy_gigabytes_per_second": 2 * size / timed(lambda: there.copy_(values), device, repeats=repeats) / 1e9,
    }
    if device.type == "cuda":
        host = torch.empty(size // 8, dtype=torch.uint8, pin_memory=True)
        part = there[: size // 8]
        for name, copy in (
            ("to_the_card", lambda: part.copy_(host, non_blocking=True)),
            ("from_the_card", lambda: host.copy_(part, non_blocking=True)),
        ):
            timed(copy, device, repeats=2)
            found[f"{name}_gigabytes_per_second"] = len(host) / timed(copy, device, repeats=10) / 1e9
    return found


def stage_rates(
    model: Path,
    rows: Sequence[dict[str, Any]],
    *,
    device: torch.device,
    precision: str,
    share: Callable[[float], float | None],
) -> dict[str, Any]:
    """Return windows a second of every stage, alone, and what the model makes of the matrix products' rate."""
    setup = load_setup(
        ExtractOptions(
            inputs=("-",), output="-", model=str(model), precision=precision, device=str(device), backend="torch"
        )
    )
    extractor = setup.extractor
    backend = device_backend(extractor.backend)
    if backend is None:
        raise RuntimeError("batches are not put together on this device")
    extractor.tokenizer.remember_words()
    examples = [Example(row["id"], row["question"], row["context"], row["id"]) for row in rows]
    (shard,) = cut_shards(examples, ShardLimits(rows=len(rows), context_bytes=1 << 40))
    extractor.prepare(shard)
    began = time.perf_counter()
    prepared = extractor.prepare(shard)
    card_shard = CardShard.of(prepared.examples, extractor.searched_characters(prepared))
    preparing = time.perf_counter() - began
    reader = CardReader(
        backend=backend, search=extractor.decoder.search, batch_tokens=extractor.batch_tokens, tick=lambda _: None
    )
    reader.collect(reader.launch(card_shard))
    whole = timed(lambda: reader.launch(card_shard), device, repeats=3)
    began = time.perf_counter()
    launched = reader.launch(card_shard)
    launching = time.perf_counter() - began
    spans, failed = reader.collect(launched)
    began = time.perf_counter()
    extractor.decide(prepared, spans, failed)
    deciding = time.perf_counter() - began
    lengths = card_shard.pieces.lengths
    config = load_config(str(model))
    work = sum(window_flops(config, length) or 0.0 for length in lengths.tolist())
    model_alone, batches_alone = _model_alone(reader, card_shard, device)
    count = len(lengths)
    return {
        "windows": count,
        "mean_length": float(np.mean(lengths)),
        "batch_tokens": extractor.batch_tokens,
        "way": "packed" if backend.packs else "padded",
        "windows_per_second": {
            "prepare, one process": count / preparing,
            "put batches together": count / batches_alone,
            "model": count / model_alone,
            "batches, model and spans": count / whole,
            "launch (host)": count / launching,
            "decide, one process": count / deciding,
        },
        "model_share_of_matmul": share(work / model_alone),
        "reading_share_of_matmul": share(work / whole),
        "processes_needed": (preparing + deciding) / whole,
        "cores": len(os.sched_getaffinity(0)),
    }


def read_rate(corpus: Path, count: int) -> float:
    """Return the rows a second that one thread reads from Parquet, makes a shard of and sends to a process."""
    limits = ShardLimits(rows=count, context_bytes=1 << 40)
    began = time.perf_counter()
    shard = next(cut_shards(open_corpus(resolve([str(corpus)]), limit=count).examples(), limits))
    pickle.dumps(shard)
    return count / (time.perf_counter() - began)


def _model_alone(reader: CardReader, shard: CardShard, device: torch.device) -> tuple[float, float]:
    """Return the seconds of the model's forward passes over a shard, and those of putting its batches together."""
    with torch.inference_mode():
        uploaded = _Uploaded(shard, reader.backend)
        bounds = list(reader._batches(shard.pieces.lengths))
        together = timed(lambda: [uploaded.batch(*one) for one in bounds], device, repeats=3)
        batches = [uploaded.batch(*one) for one in bounds]
        model = timed(lambda: [reader.backend.packed_logits(batch) for batch in batches], device, repeats=3)
    return model, together


@dataclass
class Watch:
    """When a card was told to read shards, and when it was through with each; see :func:`watched`."""

    told: list[tuple[float, float]] = field(default_factory=list)
    """When the host began and ended to tell it, in seconds as :func:`time.perf_counter` has them."""
    read: list[tuple[torch.cuda.Event, torch.cuda.Event]] = field(default_factory=list)
    collected: float = 0.0
    """When the last shard was collected."""

    def phases(self, began: float, ended: float) -> dict[str, float]:
        """Return the seconds before the card had anything, while it read, of which between shards, and afterwards."""
        found = {
            "before the first batch": self.told[0][0] - began,
            "reading": self.collected - self.told[0][0],
            "after the last batch": ended - self.collected,
        }
        if self.read:
            gaps = (end.elapsed_time(begin) for (_, end), (begin, _) in pairwise(self.read))
            found["reading, between shards"] = sum(gaps) / 1e3
        return found


@contextmanager
def watched(device: torch.device) -> Iterator[Watch]:
    """Watch an extraction: yield what has been seen of it when the context is left."""
    watch = Watch()
    launch, collect = CardReader.launch, CardReader.collect

    def launching(reader: CardReader, shard: CardShard, **given: Any) -> Any:
        began = time.perf_counter()
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if device.type == "cuda" else []
        if marks:
            marks[0].record()
        launched = launch(reader, shard, **given)
        if marks:
            marks[1].record()
            watch.read.append((marks[0], marks[1]))
        watch.told.append((began, time.perf_counter()))
        return launched

    def collecting(reader: CardReader, launched: Any) -> Any:
        spans = collect(reader, launched)
        watch.collected = time.perf_counter()
        return spans

    with patch.object(CardReader, "launch", launching), patch.object(CardReader, "collect", collecting):
        yield watch


def busy_share(work: Callable[[], object], device: torch.device) -> dict[str, Any]:
    """Return the share of a run in which the card computed or copied, and what took most of that time."""
    from torch.profiler import ProfilerActivity, profile

    on_card = device.type == "cuda"
    work()
    with profile(activities=[ProfilerActivity.CUDA if on_card else ProfilerActivity.CPU]) as profiled:
        work()
    kernels = [
        (event.name, event.time_range.start, event.time_range.end)
        for event in profiled.events()
        if (event.device_type == torch.autograd.DeviceType.CUDA) == on_card
    ]
    read = while_reading(kernels)
    spent = spent_by_name(read)
    wall = max(end for _, _, end in read) - min(start for _, start, _ in read)
    total = sum(spent.values())
    return {
        "busy_share": covered([(start, end) for _, start, end in read]) / wall,
        "kernels": len(read),
        "seconds": wall / 1e6,
        "most_time": {name[:90]: time_ / total for name, time_ in spent.most_common(15)},
    }


def while_reading(kernels: Sequence[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    """Return the kernels from the first on that computes what takes most of the time.

    What loading the model does on the card, long before there is anything to read, is left out.

    :param kernels: name, start and end of each
    """
    computing = [one for one in kernels if not one[0].startswith(("Memcpy", "Memset"))]
    ((foremost, _),) = spent_by_name(computing).most_common(1)
    begin = min(start for name, start, _ in computing if name == foremost)
    return [one for one in kernels if one[1] >= begin]


def spent_by_name(kernels: Sequence[tuple[str, float, float]]) -> Counter[str]:
    """Return the time of all kernels of each name."""
    spent = Counter[str]()
    for name, start, end in kernels:
        spent[name] += end - start
    return spent


def covered(ranges: Sequence[tuple[float, float]]) -> float:
    """Return how much of a line the ranges cover; those that overlap count once."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(ranges):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
