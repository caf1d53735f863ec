"""The interface of a backend: padded windows in, start and end logits out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from qatool.models.pytorch.lanes import Lane
    from qatool.models.pytorch.packed import PackedBatch
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


class DeviceBackend(Backend, Protocol):
    """A backend that also takes batches put together where it computes, so that the host need not wait for it."""

    lane: Lane
    """The way to its device and back. A backend that has none is given batches of the host."""
    fitting_tokens: int
    """Tokens a batch that memory has sufficed for, as far as is known; lowered by whoever finds out."""

    @property
    def packs(self) -> bool:
        """Whether windows of any lengths share a batch without padding."""
        ...

    def packed_logits(self, batch: PackedBatch) -> tuple[Tensor, Tensor]:
        """Return start and end logits, each ``(b, t)``, on the backend's device, without waiting for them.

        Behind the last token of a window stands anything.

        :raises BatchTooLargeError: out of memory
        """
        ...

    def wider(self) -> DeviceBackend | None:
        """Return a backend for the same model whose numbers have a wider range, ``None`` where there is none."""
        ...
