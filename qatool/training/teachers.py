"""Teachers: other models whose answers are learnt beside the labels.

Hinton et al., "Distilling the Knowledge in a Neural Network" (2015): the mean probabilities of several models say of
every token how likely it is to begin or end the answer, while a label names a single token.
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
    """Models that are only read from, and not trained.

    :param models: question-answering models with the same tokenizer
    """

    def __init__(self, models: Sequence[Any]) -> None:
        self._models = [model.eval().requires_grad_(requires_grad=False) for model in models]
        self._ready_masks = [False for _ in self._models]

    @classmethod
    def load(cls, names: Sequence[str], *, dtype: torch.dtype, trust_remote_code: bool) -> Teachers:
        """Load models by folder or hub id.

        :raises EnvironmentUnfitError: a model does not load, or has no head
        """
        return cls(
            [
                load_weights(name, dtype=dtype, allow_pickle=False, trust_remote_code=trust_remote_code)
                for name in names
            ]
        )

    def begin(self, device: torch.device) -> None:
        """Move the models to a device."""
        for place, model in enumerate(self._models):
            model.to(device)
            if device.type == "cuda":
                self._ready_masks[place] = takes_ready_mask(model)

    @property
    def take_ready_masks(self) -> bool:
        """Whether all models take ready masks, so that none makes the host wait; see :func:`takes_ready_mask`."""
        return all(self._ready_masks)

    def probabilities(self, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Return the mean probabilities of each token to be the first and the last of the answer, ``(b, t)`` each."""
        found: list[tuple[Tensor, Tensor]] = []
        # Teachers run in their own precision: autocast would only cast their weights back and forth.
        with torch.no_grad(), torch.autocast(batch.input_ids.device.type, enabled=False):
            for model, ready_mask in zip(self._models, self._ready_masks, strict=True):
                logits = masked_logits(model, batch, ready_mask=ready_mask)
                found.append((softened(logits[0]), softened(logits[1])))
        starts, ends = zip(*found, strict=True)
        return torch.stack(starts).mean(0), torch.stack(ends).mean(0)


def softened(logits: Tensor) -> Tensor:
    """Return the probabilities of logits ``(b, t)`` at :data:`TEMPERATURE`."""
    return (logits / TEMPERATURE).softmax(dim=-1)
