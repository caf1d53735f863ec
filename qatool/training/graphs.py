"""Forward and backward passes as CUDA graphs: one launch for the hundreds of kernels of a small model's step.

Told kernel by kernel, a card may wait for the host. So what a step takes is recorded once for each shape of batch,
and then replayed over the same memory.
"""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from qatool.errors import reason_of
from qatool.logs import log_event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from qatool.training.windows import TrainingBatch

_MOST_GRAPHS = 96
"""Shapes that come up after so many are read kernel by kernel."""
_WAITED = "called a synchronizing"
"""What torch says of a value that it waits for; it also says, once, that looking for these is a prototype."""


@dataclass(frozen=True, kw_only=True)
class _Recorded:
    graph: torch.cuda.CUDAGraph
    batch: TrainingBatch
    """Whose memory the graph reads."""
    loss: Tensor
    """Where it writes the loss."""


class StepGraphs:
    """Adds the gradients of batches to those that the parameters have, by graphs where that works.

    :param backward: does so kernel by kernel, and returns the loss, a number without a graph of its own. Gradients
        must keep their memory from step to step
    """

    def __init__(self, backward: Callable[[TrainingBatch], Tensor]) -> None:
        self._backward = backward
        self._recorded: dict[tuple[int, ...], _Recorded] = {}
        self._is_first = True
        self._seen: set[tuple[int, ...]] = set()
        self._works = True
        self._pool: Any = None

    def __call__(self, batch: TrainingBatch) -> Tensor:
        """Add the gradients of a batch; return its loss."""
        recorded = self._recorded.get(batch.shape)
        if recorded is None and self._works:
            if self._is_first:
                # Libraries and compilers set themselves up, and gradients get their memory.
                self._is_first = False
            elif batch.shape not in self._seen:
                return self._watched(batch)
            elif len(self._recorded) < _MOST_GRAPHS:
                recorded = self._record(batch)
        if recorded is None:
            return self._backward(batch)
        there = recorded.batch.tensors()
        for name, value in batch.tensors().items():
            there[name].copy_(value)
        recorded.graph.replay()
        return recorded.loss

    def _watched(self, batch: TrainingBatch) -> Tensor:
        """Read the first batch of a shape kernel by kernel; give up where that asks the card for a value.

        To find out while recording is too late: some releases of torch draw no dropout after a recording that failed.
        """
        self._seen.add(batch.shape)
        with recorded_syncs() as questions:
            loss = self._backward(batch)
        if questions:
            self._give_up(questions[0])
        return loss

    def _record(self, batch: TrainingBatch) -> _Recorded | None:
        """Record what a batch takes, which does none of it; ``None`` where that fails."""
        graph = torch.cuda.CUDAGraph()
        computing = torch.cuda.current_stream()
        try:
            # Other threads pin memory meanwhile, which is none of the graph's business. All graphs share their
            # memory: none is replayed before the one before is through.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                loss = self._backward(batch)
        except RuntimeError as error:
            # What was cast in a recording has not been computed, and one that fails leaves its stream behind.
            torch.clear_autocast_cache()
            torch.cuda.set_stream(computing)
            if isinstance(error, torch.OutOfMemoryError):
                # Graphs hold memory of their own; kernel by kernel the batch may fit, as it did before.
                self._recorded.clear()
                self._pool = None
            self._give_up(reason_of(error))
            return None
        self._pool = self._pool or graph.pool()
        self._recorded[batch.shape] = _Recorded(graph=graph, batch=batch, loss=loss)
        return self._recorded[batch.shape]

    def _give_up(self, reason: str) -> None:
        self._works = False
        log_event(
            "the model's steps cannot be recorded as a graph; the card is told kernel by kernel",
            level=logging.WARNING,
            reason=reason,
        )


@contextmanager
def recorded_syncs() -> Iterator[list[str]]:
    """Yield a list; when the context is left it holds what torch says of values that the card was asked for in it."""
    before = torch.cuda.get_sync_debug_mode()
    questions: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield questions
        finally:
            torch.cuda.set_sync_debug_mode(before)
            questions += [str(one.message) for one in caught if _WAITED in str(one.message)]
