"""Forward and backward passes as CUDA graphs: one launch for the hundreds of kernels of a small model's step.

If kernels are launched one by one, a card may wait for the host. So the kernels of a step are recorded once for each
shape of batch, and then replayed over the same memory.
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
"""Most graphs that are recorded; batches of further shapes are run kernel by kernel."""
_WAITED = "called a synchronizing"
"""Part of torch's warning that the host waits for the card; another warning says that this mode is a prototype."""


@dataclass(frozen=True, kw_only=True)
class _Recorded:
    graph: torch.cuda.CUDAGraph
    batch: TrainingBatch
    """The batch whose memory the graph reads."""
    loss: Tensor
    """The tensor that the graph writes the loss to."""


class StepGraphs:
    """Adds the gradients of batches to those of the parameters, with CUDA graphs where that works.

    The gradients must keep their memory from step to step.

    :param backward: does the same kernel by kernel, and returns the loss as a scalar detached from autograd
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
                # In the first step, libraries and compilers are set up, and gradients get their memory.
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
        """Run the first batch of a shape kernel by kernel; give graphs up if that makes the host wait for the card.

        A failed recording would show the same too late: after one, some releases of torch no longer draw dropout.
        """
        self._seen.add(batch.shape)
        with recorded_syncs() as questions:
            loss = self._backward(batch)
        if questions:
            self._give_up(questions[0])
        return loss

    def _record(self, batch: TrainingBatch) -> _Recorded | None:
        """Record the kernels of a batch without running them; return ``None`` where that fails."""
        graph = torch.cuda.CUDAGraph()
        computing = torch.cuda.current_stream()
        try:
            # Thread-local, as other threads pin memory meanwhile, which does not concern the graph. All graphs can
            # share one memory pool, as none is replayed before the previous one is done.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                loss = self._backward(batch)
        except RuntimeError as error:
            # Casts cached in a recording were never computed, and a failed recording leaves its stream current.
            torch.clear_autocast_cache()
            torch.cuda.set_stream(computing)
            if isinstance(error, torch.OutOfMemoryError):
                # Graphs hold memory of their own; without them the batch may fit, as the first of its shape did.
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
    """Yield a list that, when the context is left, holds torch's warnings of waits for the card in the context."""
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
