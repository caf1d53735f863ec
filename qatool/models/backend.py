"""The interface of backends, which turn padded windows into start and end logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from qatool.models.pytorch.lanes import Lane
    from qatool.models.pytorch.packed import PackedBatch
    from qatool.windows.assemble import WindowBatch


class BatchTooLargeError(Exception):
    """The device has too little memory for a batch; a smaller batch may fit."""


class Backend(Protocol):
    """Runs a model; its attributes go into the summary and the plan of a run."""

    name: str
    """The kind of backend: ``torch``, ``openvino`` or ``constant``."""
    device: str
    """The device: ``cpu``, ``cuda:0`` …"""
    precision: str
    """The arithmetic of the model: ``fp32``, ``bf16`` …"""
    max_length: int
    """The longest window that the model can read, in tokens."""
    batch_tokens: int
    """A number of tokens per batch that suits the device, padding included."""
    streams: int
    """How many batches may be run at once, each from a thread of its own."""

    def logits(self, batch: WindowBatch) -> tuple[Tensor, Tensor]:
        """Return start and end logits, each ``(b, t)``, on the device of the backend.

        :raises BatchTooLargeError: the device lacks memory for the batch
        """
        ...


class DeviceBackend(Backend, Protocol):
    """A backend that also takes batches put together on its own device, so that the host need not wait for it."""

    lane: Lane
    """Copies data to the device and back. A backend whose lane is ``None`` must be given batches of the host."""
    fitting_tokens: int
    """The most tokens per batch that memory is known or assumed to suffice for; callers lower it if a batch fails."""

    @property
    def packs(self) -> bool:
        """Whether windows of any lengths share a batch without padding."""
        ...

    def packed_logits(self, batch: PackedBatch) -> tuple[Tensor, Tensor]:
        """Return start and end logits, each ``(b, t)``, on the device of the backend, without waiting for them.

        The values behind the last token of each window are arbitrary.

        :raises BatchTooLargeError: the device lacks memory for the batch
        """
        ...

    def wider(self) -> DeviceBackend | None:
        """Return a backend for the same model in a number format of wider range, ``None`` where there is none."""
        ...
