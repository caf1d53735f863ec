"""What other models answer, to learn from beside the labels.

Hinton et al., "Distilling the Knowledge in a Neural Network" (2015): the probabilities of several models together say
of every token how near it comes to being the answer, which a label says of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from qatool.models.pytorch.torch_backend import load_weights
from qatool.training.logits import masked_logits, takes_ready_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from qatool.training.windows import TrainingBatch

TEMPERATURE = 2.0
"""Softens the probabilities of teachers and learner alike (Sanh et al., "DistilBERT", 2019)."""


class Teachers:
    """Models that are only asked.

    :param models: question-answering models of one tokenizer
    """

    def __init__(self, models: Sequence[Any]) -> None:
        self._models = [model.eval().requires_grad_(requires_grad=False) for model in models]
        self._ready_masks = [False for _ in self._models]

    @classmethod
    def load(cls, names: Sequence[str], *, dtype: torch.dtype, trust_remote_code: bool) -> Teachers:
        """Load models by folder or hub id.

        :raises EnvironmentUnfitError: one does not load, or has no head
        """
        return cls(
            [
                load_weights(name, dtype=dtype, allow_pickle=False, trust_remote_code=trust_remote_code)
                for name in names
            ]
        )

    def begin(self, device: torch.device) -> None:
        """Move to a device."""
        for place, model in enumerate(self._models):
            model.to(device)
            if device.type == "cuda":
                self._ready_masks[place] = takes_ready_mask(model)

    @property
    def take_ready_masks(self) -> bool:
        """Whether the card need not be asked about padding by any of them."""
        return all(self._ready_masks)

    def probabilities(self, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Return how likely each token is to be the first, and the last, of the answer, in the mean: ``(b, t)``."""
        found: list[tuple[Tensor, Tensor]] = []
        # In their own precision: what autocast would cast back and forth is not learnt from.
        with torch.no_grad(), torch.autocast(batch.input_ids.device.type, enabled=False):
            for model, ready_mask in zip(self._models, self._ready_masks, strict=True):
                logits = masked_logits(model, batch, ready_mask=ready_mask)
                found.append((softened(logits[0]), softened(logits[1])))
        starts, ends = zip(*found, strict=True)
        return torch.stack(starts).mean(0), torch.stack(ends).mean(0)


def softened(logits: Tensor) -> Tensor:
    """Return the probabilities of logits ``(b, t)`` at :data:`TEMPERATURE`."""
    return (logits / TEMPERATURE).softmax(dim=-1)
