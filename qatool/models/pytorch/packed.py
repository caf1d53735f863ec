"""Windows one after the other, where the model is: a batch without padding, and none of it waits for the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from qatool.windows.ragged import offsets_of, positions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qatool.windows.assemble import WindowBatch


@dataclass(frozen=True, kw_only=True)
class PackedBatch:
    """``b`` windows of ``n`` tokens in all, on one device. Numbers that the host knows are plain integers."""

    input_ids: Tensor
    """``(n,)``, int64"""
    token_type_ids: Tensor | None
    """``(n,)``, int64, or ``None`` where the model has none."""
    position: Tensor
    """``(n,)``, int64: of each token in its window, from 0."""
    boundaries: Tensor
    """``(b + 1,)``, int64: tokens of window ``i`` are ``boundaries[i]:boundaries[i + 1]``."""
    lengths: Tensor
    """``(b,)``, int64"""
    context_first: Tensor
    """``(b,)``: position of the first context token."""
    context_length: Tensor
    """``(b,)``"""
    null_position: Tensor
    """``(b,)``: position of the classification token."""
    longest: int
    """Tokens of the longest window."""
    longest_context: int
    """Most context tokens of a window."""
    pad_token_id: int

    def __len__(self) -> int:
        return len(self.lengths)

    def rows(self, values: Tensor) -> Tensor:
        """Return flat ``values (n,)`` window by window: ``(b, longest)``; behind a window's end stands anything."""
        index = self.boundaries[:-1, None] + torch.arange(self.longest, device=values.device)
        return values[index.clamp(max=len(values) - 1)]

    @property
    def filled(self) -> Tensor:
        """Which places of :meth:`rows` hold a token: ``(b, longest)``."""
        return torch.arange(self.longest, device=self.lengths.device) < self.lengths[:, None]


def packed(batch: WindowBatch, device: torch.device, *, pad_token_id: int) -> PackedBatch:
    """Return padded windows of the host one after the other, on a device."""
    filled = np.arange(batch.input_ids.shape[1]) < batch.lengths[:, None]

    def moved(values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(values.astype(np.int64)).to(device)

    return PackedBatch(
        input_ids=moved(batch.input_ids[filled]),
        token_type_ids=None if batch.token_type_ids is None else moved(batch.token_type_ids[filled]),
        position=moved(positions(batch.lengths)),
        boundaries=moved(offsets_of(batch.lengths)),
        lengths=moved(batch.lengths),
        context_first=moved(batch.context_first),
        context_length=moved(batch.context_length),
        null_position=moved(batch.null_position),
        longest=batch.input_ids.shape[1],
        longest_context=batch.longest_context,
        pad_token_id=pad_token_id,
    )
