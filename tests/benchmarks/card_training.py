"""The rate of ``qatool finetune``'s steps on a card, and what a step is made of."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from card_stages import timed
from transformers import AutoModelForQuestionAnswering

from qatool.models.pytorch.ways import compiled
from qatool.training.graphs import StepGraphs
from qatool.training.logits import takes_ready_mask
from qatool.training.module import QuestionAnsweringModule, Recipe
from qatool.training.windows import TrainingBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

WIDTHS = (128, 160, 192, 224)
"""Of the batches that steps are timed over, in tokens; 176 in the mean."""


def finetune_rate(
    model: Path, rows: Sequence[dict[str, Any]], folder: Path, *, device: torch.device, batch_size: int
) -> dict[str, float]:
    """Return windows and steps a second over the second half of the steps: in the first, shapes of batches are new.

    :raises RuntimeError: the run failed
    """
    train, output = folder / "train.jsonl", folder / f"finetuned-{model.name}-{batch_size}"
    train.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [sys.executable, "-m", "qatool", "finetune", str(train), "-o", str(output), "--model", str(model), "-q"]
    words += ["--batch-size", str(batch_size), "--accelerator", device.type, "--restart"]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    if done.returncode:
        raise RuntimeError(f"qatool finetune ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    with (output / "metrics.csv").open() as stream:
        lines = [line for line in csv.DictReader(stream) if line["windows_per_second"]]
    lines = lines[len(lines) // 2 :]
    steps = [int(line["step"]) for line in lines]
    each = steps[0] if len(steps) == 1 else (steps[-1] - steps[0]) / (len(steps) - 1)
    rate = len(lines) / sum(1 / float(line["windows_per_second"]) for line in lines)
    return {"windows_per_second": rate, "steps_per_second": rate / batch_size, "steps_a_line": each}


WAYS = ("kernel by kernel", "graphs", "compiled, graphs")


class Steps:
    """Times steps, forward to optimiser; nothing but steps: batches are on the device already.

    :param repeats: of the batches that are timed
    """

    def __init__(self, model: Path, *, device: torch.device, batch_sizes: Sequence[int], repeats: int) -> None:
        self._device, self._sizes, self._repeats = device, batch_sizes, repeats
        self._on_card = device.type == "cuda"
        self._trained = AutoModelForQuestionAnswering.from_pretrained(model, dtype=torch.float32).to(device).train()
        recipe = Recipe(learning_rate=1e-5, weight_decay=0.0, clip=1.0, steps=1, warmup_steps=0, seed=1)
        self._module = QuestionAnsweringModule(self._trained, recipe, None)
        self._module._ready_mask = self._on_card and takes_ready_mask(self._trained)
        self._optimizer = torch.optim.AdamW(self._trained.parameters(), lr=1e-5, fused=True)

    def rates(self, way: str) -> dict[str, Any]:
        """Return milliseconds a step and windows a second by size of batch, and what kernels the smallest takes."""
        if way.startswith("compiled") and self._on_card:
            self._module._compiled = compiled(self._trained)
        by_graph = self._on_card and way != "kernel by kernel"
        read = StepGraphs(self._backward) if by_graph else self._backward
        began = time.perf_counter()
        found: dict[str, Any] = {}
        for size in self._sizes:
            batches = self._batches(size)
            self._all(read, batches * 3)
            seconds = timed(partial(self._all, read, batches * self._repeats), self._device)
            count = self._repeats * len(batches)
            found[f"batch {size}"] = {
                "milliseconds": seconds / count * 1e3,
                "windows_per_second": size * count / seconds,
            }
        found["seconds_in_all"] = time.perf_counter() - began
        batches = self._batches(self._sizes[0])
        found["kernels"] = _kernels(partial(self._all, read, batches), len(batches), self._device)
        return found

    def _batches(self, size: int) -> list[TrainingBatch]:
        return [_made_up(size, width, self._trained.config.vocab_size, self._device) for width in WIDTHS]

    def _backward(self, batch: TrainingBatch) -> torch.Tensor:
        with torch.autocast(self._device.type, torch.bfloat16):
            loss = self._module._loss(batch)
        loss.backward()
        torch.clear_autocast_cache()
        return loss.detach()

    def _all(self, read: Callable[[TrainingBatch], torch.Tensor], batches: Sequence[TrainingBatch]) -> None:
        for batch in batches:
            read(batch)
            torch.nn.utils.clip_grad_norm_(self._trained.parameters(), 1.0)
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=False)


def _made_up(size: int, width: int, vocabulary: int, device: torch.device) -> TrainingBatch:
    """Return windows of random tokens, of which the shorter ones lack a tenth of the width."""
    generator = np.random.default_rng(width)
    lengths = generator.integers(width - width // 10, width + 1, size)
    filled = np.arange(width) < lengths[:, None]
    ids = np.where(filled, generator.integers(5, vocabulary, filled.shape), 0)
    answers = torch.from_numpy(generator.integers(1, width // 2, (size, 1)))
    return TrainingBatch(
        input_ids=torch.from_numpy(ids),
        attention_mask=torch.from_numpy(filled.astype(np.int64)),
        token_type_ids=None,
        start_positions=answers,
        end_positions=answers,
        weights=torch.full((size, 1), 1 / size),
        windows=size,
    ).to(device)


def _kernels(work: Callable[[], object], count: int, device: torch.device) -> dict[str, Any]:
    """Return how many kernels a step is, how long they take, and which take longest."""
    from torch.profiler import ProfilerActivity, profile

    on_card = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_card else ProfilerActivity.CPU]) as profiled:
        work()
        if on_card:
            torch.cuda.synchronize(device)
    spent, number = Counter[str](), 0
    for event in profiled.events():
        if (event.device_type == torch.autograd.DeviceType.CUDA) == on_card:
            spent[event.name] += event.time_range.end - event.time_range.start
            number += 1
    total = sum(spent.values())
    return {
        "a step": number / count,
        "milliseconds a step": total / count / 1e3,
        "most_time": {name[:90]: time_ / total for name, time_ in spent.most_common(16)},
    }
