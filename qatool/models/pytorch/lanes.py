"""Copy data to a device and back without either side waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


class Download(Protocol):
    """A copy that is being made to the host."""

    def ready(self) -> bool:
        """Return whether the copy has arrived; all work launched on the device before it is then done, too."""
        ...

    def wait(self) -> NDArray[Any]:
        """Wait for the copy, and return it."""
        ...


class Lane(Protocol):
    """Copies data to a device and back."""

    def upload(self, arrays: Mapping[str, NDArray[np.generic]]) -> dict[str, Tensor]:
        """Return the arrays as tensors on the device; work launched on them next waits for the copies by itself."""
        ...

    def download(self, values: Tensor) -> Download:
        """Begin to copy a tensor to the host."""
        ...


def lane_of(device: torch.device) -> Lane:
    """Return the lane of a device; the lane of the CPU copies nothing."""
    return CardLane(device) if device.type == "cuda" else HostLane()


class HostLane:
    """The lane of a device that shares the memory of the host, so that nothing need be copied."""

    def upload(self, arrays: Mapping[str, NDArray[np.generic]]) -> dict[str, Tensor]:
        """Return the arrays as tensors that share their memory."""
        return {name: torch.from_numpy(values) for name, values in arrays.items()}

    def download(self, values: Tensor) -> Download:
        """Return a download that is ready at once."""
        return _Here(values.numpy())


class _Here:
    def __init__(self, values: NDArray[Any]) -> None:
        self._values = values

    def ready(self) -> bool:
        return True

    def wait(self) -> NDArray[Any]:
        return self._values


class CardLane:
    """Copies through pinned memory, on streams other than the one that computes.

    There is one stream for each direction: the upload of the next shard must not wait for the results of this one.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._up = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._down = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def upload(self, arrays: Mapping[str, NDArray[np.generic]]) -> dict[str, Tensor]:
        """Copy the arrays; see :class:`Lane`."""
        computing = torch.cuda.current_stream(self._device)
        with torch.cuda.device(self._device), torch.cuda.stream(self._up):
            there = {
                name: torch.from_numpy(values).pin_memory().to(self._device, non_blocking=True)
                for name, values in arrays.items()
            }
        computing.wait_stream(self._up)
        for values in there.values():
            values.record_stream(computing)
        return there

    def download(self, values: Tensor) -> Download:
        """Begin to copy; see :class:`Lane`."""
        self._down.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.device(self._device), torch.cuda.stream(self._down):
            host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            host.copy_(values, non_blocking=True)
            arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrived.record(self._down)
        values.record_stream(self._down)
        return _Coming(host, arrived)


class _Coming:
    def __init__(self, host: Tensor, arrived: torch.cuda.Event) -> None:
        self._host, self._arrived = host, arrived

    def ready(self) -> bool:
        return bool(self._arrived.query())  # type: ignore[no-untyped-call]

    def wait(self) -> NDArray[Any]:
        self._arrived.synchronize()
        return self._host.numpy()
