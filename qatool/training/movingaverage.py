"""The mean of a run's weights over its steps, the latest ones counting most.

Polyak and Juditsky, "Acceleration of stochastic approximation by averaging" (1992); as an exponential moving average,
corrected for its beginning as in Kingma and Ba, "Adam" (2014), so that the weights before the first step have no
part. Steps swing about where they lead to, and the mean of them lies nearer to that. A step that fp16 passes over
counts with the weights as they are.
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
    """Keeps the moving average of the weights; it is what is validated, and what a run ends with.

    A kind of checkpoint, for those come last after a validation, in their order: who saves what was validated stands
    before this, and who saves where training goes on behind it.

    :param decay: part of the average that stays at a step, in (0, 1)
    """

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self._steps = 0
        self._average: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the average and the number of steps in it, for the checkpoint."""
        return {"steps": self._steps, "average": self._average}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up where the checkpoint was made."""
        self._steps, self._average = state_dict["steps"], state_dict["average"]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the weights of another step in; the first ones are the average."""
        weights = _weights(pl_module)
        self._steps += 1
        part = (1 - self._decay) / (1 - self._decay**self._steps)
        with torch.no_grad():
            if not self._average:
                self._average = {name: value.detach().clone() for name, value in weights.items()}
            average = self._beside(weights)
            torch._foreach_lerp_(average, list(weights.values()), part)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the average in the place of the weights."""
        self._swap(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the weights back, with which training goes on."""
        self._swap(trainer, pl_module)

    def exchange(self, module: LightningModule) -> None:
        """Exchange average and weights; when training is over, the average is what it leaves."""
        if self._average:
            weights = _weights(module)
            _exchange(weights.values(), self._beside(weights))

    def _swap(self, trainer: Trainer, module: LightningModule) -> None:
        # What is validated when training is over has the weights that are kept.
        if trainer.state.fn == TrainerFn.FITTING:
            self.exchange(module)

    def _beside(self, weights: Mapping[str, Tensor]) -> list[Tensor]:
        """Return the average in the order of ``weights``, and where they are: it may have been loaded elsewhere."""
        self._average = {name: self._average[name].to(value.device) for name, value in weights.items()}
        return list(self._average.values())


def _weights(module: LightningModule) -> dict[str, Tensor]:
    """Return what is trained, each tensor once."""
    return {name: value for name, value in module.named_parameters() if value.requires_grad}


def _exchange(some: Iterable[Tensor], others: Iterable[Tensor]) -> None:
    """Exchange the values of tensors in place: a recorded step reads and writes this very memory."""
    with torch.no_grad():
        for one, other in zip(some, others, strict=True):
            held = one.detach().clone()
            one.copy_(other)
            other.copy_(held)
