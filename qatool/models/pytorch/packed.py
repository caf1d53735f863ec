"""Packed batches: windows one after the other on the device of the model, without padding or waiting."""

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
    """``b`` windows with ``n`` tokens in all, on one device; sizes that the host needs are plain integers."""

    input_ids: Tensor
    """``(n,)``, int64"""
    token_type_ids: Tensor | None
    """``(n,)``, int64, or ``None`` where the model has none."""
    position: Tensor
    """``(n,)``, int64: position of each token in its window, from 0."""
    boundaries: Tensor
    """``(b + 1,)``, int64: tokens of window ``i`` are ``boundaries[i]:boundaries[i + 1]``."""
    lengths: Tensor
    """``(b,)``, int64: number of tokens."""
    context_first: Tensor
    """``(b,)``: position of the first context token."""
    context_length: Tensor
    """``(b,)``: number of context tokens."""
    null_position: Tensor
    """``(b,)``: position of the classification token."""
    longest: int
    """Tokens of the longest window."""
    longest_context: int
    """The largest number of context tokens in any window."""
    pad_token_id: int

    def __len__(self) -> int:
        return len(self.lengths)

    def rows(self, values: Tensor) -> Tensor:
        """Return flat ``values (n,)`` as ``(b, longest)``, a row per window; values behind its end are arbitrary."""
        index = self.boundaries[:-1, None] + torch.arange(self.longest, device=values.device)
        return values[index.clamp(max=len(values) - 1)]

    @property
    def filled(self) -> Tensor:
        """``(b, longest)``: which values of :meth:`rows` belong to a token."""
        return torch.arange(self.longest, device=self.lengths.device) < self.lengths[:, None]


def packed(batch: WindowBatch, device: torch.device, *, pad_token_id: int) -> PackedBatch:
    """Return padded windows of the host as a packed batch on a device."""
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
