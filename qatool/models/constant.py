"""A backend without a model, for tests of scale in which reading should cost nothing: every logit is the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from qatool.windows.assemble import WindowBatch


class ConstantBackend:
    """Returns the logit 0 for every token, so that all spans tie and the first token wins.

    :param max_length: longest window, in tokens, that the backend claims to read
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
