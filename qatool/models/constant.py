"""A backend without a model: every logit is the same. For tests of scale, where only the rest should cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from qatool.windows.assemble import WindowBatch


class ConstantBackend:
    """Gives every token the logit 0, so every span ties and the first token wins.

    :param max_length: longest window in tokens that it claims to read
    """

    name = "constant"
    device = "cpu"
    precision = "fp32"
    batch_tokens = 65_536
    streams = 1

    def __init__(self, *, max_length: int) -> None:
        self.max_length = max_length

    def logits(self, batch: WindowBatch) -> tuple[Tensor, Tensor]:
        """Return zeros, each ``(b, t)``."""
        zeros = torch.zeros(batch.input_ids.shape)
        return zeros, zeros
