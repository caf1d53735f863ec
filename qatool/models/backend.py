"""The interface of a backend: padded windows in, start and end logits out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from qatool.windows.assemble import WindowBatch


class BatchTooLargeError(Exception):
    """The device has no memory for this batch; a smaller one may fit."""


class Backend(Protocol):
    """Runs a model. Implementations say what they are, for the summary and the plan."""

    name: str
    """``torch`` …"""
    device: str
    """``cpu``, ``cuda:0`` …"""
    precision: str
    """``fp32``, ``bf16`` …"""
    max_length: int
    """Longest window in tokens."""
    batch_tokens: int
    """Tokens a batch that suit the device, padding included."""
    streams: int
    """Batches that it may be asked to run at once, each from a thread of its own."""

    def logits(self, batch: WindowBatch) -> tuple[Tensor, Tensor]:
        """Return start and end logits, each ``(b, t)``, on the backend's device.

        :raises BatchTooLargeError: out of memory
        """
        ...
