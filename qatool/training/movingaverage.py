"""The moving average of the weights over the steps of a run, in which the latest steps count most.

Polyak and Juditsky, "Acceleration of stochastic approximation by averaging" (1992); as an exponential moving average,
with bias correction as in Kingma and Ba, "Adam" (2014), so that the weights before the first step have no part in it.
The weights of single steps swing around the point that they approach; their mean is closer to it. A step that is
skipped because fp16 overflowed counts with unchanged weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lightning.pytorch import LightningModule, Trainer
    from torch import Tensor


class MovingAverage(Checkpoint):
    """Keeps the moving average of the weights, which is validated, and is the result of the run.

    It is a ``Checkpoint`` because after a validation Lightning calls checkpoints last, in their order. The callback
    that saves the validated weights must come before this one, and the one that saves the state of training after it.

    :param decay: share of the average that is kept at each step, in (0, 1)
    """

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self._steps = 0
        self._average: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the average and the number of steps in it, for the checkpoint."""
        return {"steps": self._steps, "average": self._average}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from the state in a checkpoint."""
        self._steps, self._average = state_dict["steps"], state_dict["average"]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the weights of another step to the average; after the first step, they are the average."""
        weights = _weights(pl_module)
        self._steps += 1
        part = (1 - self._decay) / (1 - self._decay**self._steps)
        with torch.no_grad():
            if not self._average:
                self._average = {name: value.detach().clone() for name, value in weights.items()}
            average = self._beside(weights)
            torch._foreach_lerp_(average, list(weights.values()), part)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the average in place of the weights."""
        self._swap(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the weights back, so that training continues with them."""
        self._swap(trainer, pl_module)

    def exchange(self, module: LightningModule) -> None:
        """Exchange the average and the weights; after training, this leaves the model with the average."""
        if self._average:
            weights = _weights(module)
            _exchange(weights.values(), self._beside(weights))

    def _swap(self, trainer: Trainer, module: LightningModule) -> None:
        # In a validation after the end of training, the model already has the weights that are kept.
        if trainer.state.fn == TrainerFn.FITTING:
            self.exchange(module)

    def _beside(self, weights: Mapping[str, Tensor]) -> list[Tensor]:
        """Return the average in the order of ``weights``, moved to their devices if it was loaded elsewhere."""
        self._average = {name: self._average[name].to(value.device) for name, value in weights.items()}
        return list(self._average.values())


def _weights(module: LightningModule) -> dict[str, Tensor]:
    """Return the weights that are trained, by name, each tensor once."""
    return {name: value for name, value in module.named_parameters() if value.requires_grad}


def _exchange(some: Iterable[Tensor], others: Iterable[Tensor]) -> None:
    """Exchange the values of tensors in place, as a CUDA graph reads and writes this memory."""
    with torch.no_grad():
        for one, other in zip(some, others, strict=True):
            held = one.detach().clone()
            one.copy_(other)
            other.copy_(held)
