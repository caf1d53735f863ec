"""The LightningModule: one optimiser step over a list of micro-batches, and EM and F1 as ``extract`` decodes."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from qatool.models.pytorch.ways import compiled
from qatool.training.adversarial import Adversary
from qatool.training.dropout import CheapDropout, rereads
from qatool.training.graphs import StepGraphs
from qatool.training.logits import masked_logits, takes_ready_mask
from qatool.training.teachers import TEMPERATURE

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from qatool.extraction.answering.extractor import PreparedShard
    from qatool.training.teachers import Teachers
    from qatool.training.validation import Figures, Validator
    from qatool.training.windows import TrainingBatch


CHECKED_STEPS = 10
"""On a card, steps between two checks that all gradients were finite."""
_SMALLEST_SCALE = 2.0**-10
"""A gradient scaler starts at 2**16 and halves its scale at every overflow; below this, the scale is not to blame."""


class NotFiniteError(ArithmeticError):
    """The gradient became infinite or NaN; the message says at which step."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of the optimiser and of the loss."""

    learning_rate: float
    weight_decay: float
    clip: float
    """Largest norm of the gradient; a larger one is scaled down to it."""
    steps: int
    warmup_steps: int
    seed: int
    teacher_weight: float = 0.0
    """Share of the teachers in the loss, in [0, 1]; the rest is that of the labels."""
    adversarial: float = 0.0
    """Distance by which embeddings are moved in adversarial training (see :mod:`qatool.training.adversarial`); 0: no
    adversarial training."""

    def rate(self, step: int) -> float:
        """Return the factor on the learning rate at a step, which rises linearly to 1, then falls linearly to 0."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        return max(0.0, (self.steps - step) / max(1, self.steps - self.warmup_steps))


class QuestionAnsweringModule(LightningModule):
    """A question-answering model in training.

    :param model: an ``AutoModelForQuestionAnswering``
    :param recipe: the settings of the optimiser and of the loss
    :param validator: validates the model, ``None`` for no validation
    :param teachers: models whose answers are learnt, too; ``None`` for none
    :param compile: whether to compile the model, on a card
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        validator: Validator | None,
        teachers: Teachers | None = None,
        *,
        compile: bool = False,  # noqa: A002  (the flag is called so)
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self._recipe = recipe
        self._validator = validator
        self._teachers = teachers
        self._compile = compile
        self._compiled: Any = None
        self._graphs: StepGraphs | None = None
        """CUDA graphs of the steps, on a card where they can be used."""
        self._first_overflow: Tensor | None = None
        """On a card: the first step whose gradient was not finite, 0 for none; read only rarely, as that waits."""
        self._ready_mask = False
        self.figures: Figures | None = None
        """The figures of the last validation."""

    def configure_optimizers(self) -> Any:
        """Return AdamW, without weight decay for biases and norms, and its schedule; see :meth:`Recipe.rate`."""
        decayed = [value for value in self.model.parameters() if value.requires_grad and value.ndim > 1]
        kept = [value for value in self.model.parameters() if value.requires_grad and value.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": self._recipe.weight_decay},
            {"params": kept, "weight_decay": 0.0},
        ]
        # With a gradient scaler, a fused optimiser would scale gradients back itself, and so only after clipping.
        fused = self.device.type in {"cpu", "cuda"} and not self._is_scaled
        optimizer = AdamW(groups, lr=self._recipe.learning_rate, fused=fused)
        return {"optimizer": optimizer, "lr_scheduler": LambdaLR(optimizer, self._recipe.rate)}

    def on_fit_start(self) -> None:
        """Prepare the teachers, and choose how work is launched on the device."""
        if self._teachers is not None:
            self._teachers.begin(self.device)
        if self.device.type == "cuda":
            self._ready_mask = takes_ready_mask(self.model)
            if self._compile:
                self._compiled = compiled(self.model)
            # No graphs with several devices or a scaler: they exchange or check gradients in the middle of a step.
            by_itself = isinstance(self.trainer.strategy, SingleDeviceStrategy) and not self._is_scaled
            # Nor without a ready mask: transformers would then wait for the card in the middle of a step.
            if by_itself and self._ready_mask and (self._teachers is None or self._teachers.take_ready_masks):
                self._graphs = StepGraphs(self._backward)

    @property
    def steps_are_graphs(self) -> bool:
        """Whether steps are run as CUDA graphs, so that batches should have few different shapes."""
        return self._graphs is not None

    @cached_property
    def _drops_cheaply(self) -> bool:
        """Whether qatool's own dropout is used; see :class:`CheapDropout`."""
        return self.device.type == "cpu" and not rereads(self.model)

    @property
    def _is_scaled(self) -> bool:
        """Whether gradients are scaled for half precision."""
        return self._scaler is not None

    @property
    def _scaler(self) -> Any:
        return getattr(self.trainer.precision_plugin, "scaler", None)

    def training_step(self, batch: list[TrainingBatch], batch_idx: int) -> dict[str, Any]:
        """Do one optimiser step.

        :returns: ``loss``, that of this device's share of the step, as a scalar tensor; ``learning_rate``; and
            ``windows``, the number of windows that this device read
        :raises NotFiniteError: the gradient is not finite; the weights are unchanged. On a card, the error is raised
            some steps later, and no step in between has changed the weights
        """
        # Seeded at every step, so that a run that continues draws the same dropout.
        torch.manual_seed(hash((self._recipe.seed, self.global_step, self.global_rank)) % 2**63)
        loss = torch.zeros((), device=self.device)
        backward = self._graphs or self._backward
        for micro in batch:
            loss += backward(micro)
        optimizer: Any = self.optimizers()
        schedule: Any = self.lr_schedulers()
        rate = optimizer.param_groups[0]["lr"]
        optimizer.step()
        # Graphs add to gradients at fixed addresses, so their memory must stay.
        optimizer.zero_grad(set_to_none=self._graphs is None)
        schedule.step()
        return {"loss": loss, "learning_rate": rate, "windows": sum(micro.windows for micro in batch)}

    def _backward(self, batch: TrainingBatch) -> Tensor:
        """Add the gradients of a micro-batch to those of the parameters; return its loss, a detached scalar."""
        distance = self._recipe.adversarial
        if not distance:
            loss = self._loss(batch)
            self._descend(loss)
            return loss.detach()
        adversary = Adversary(self.model, distance, windows=tuple(batch.input_ids.shape))
        likely = None if self._teachers is None else self._teachers.probabilities(batch)
        with adversary.watching():
            loss = self._loss(batch, likely)
        self._descend(loss / 2)
        with adversary.moving():
            self._descend(self._loss(batch, likely) / 2)
        return loss.detach()

    def _descend(self, loss: Tensor) -> None:
        """Add the gradients of a loss to those of the parameters."""
        self.manual_backward(loss)
        # Weights are cast once per loss; the cached casts belong to an autograd graph that is gone after backward.
        torch.clear_autocast_cache()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip the gradient, which is no longer scaled, and check that it is finite.

        :raises NotFiniteError: the gradient is not finite
        """
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._recipe.clip)
        if (scaler := self._scaler) is not None:
            # Half precision overflows now and then; the scaler skips such a step.
            if scaler.get_scale() < _SMALLEST_SCALE:
                raise NotFiniteError(f"step {self.global_step + 1}: the gradient is not finite, however it is scaled")
        elif norm.is_cuda:
            self._note_overflow(optimizer, norm)
        elif not bool(torch.isfinite(norm)):
            raise NotFiniteError(f"step {self.global_step + 1}: the gradient is not finite (norm {norm.item()})")

    def _note_overflow(self, optimizer: Any, norm: Tensor) -> None:
        """Let the optimiser skip this step and all later ones if the gradient is not finite, without waiting.

        The fused optimiser reads ``found_inf``, which gradient scalers normally set, on the card itself.
        """
        if self._first_overflow is None:
            self._first_overflow = torch.zeros((), dtype=torch.int64, device=norm.device)
        first, here = self._first_overflow, self.global_step + 1
        self._first_overflow = torch.where((first == 0) & ~torch.isfinite(norm), here, first)
        optimizer.found_inf = (self._first_overflow > 0).float()
        if here % CHECKED_STEPS == 0:
            self.check_finite()

    def check_finite(self) -> None:
        """Make sure that all gradients so far were finite; on a card, this waits for it.

        :raises NotFiniteError: a gradient was not finite; names the first such step
        """
        step = 0 if self._first_overflow is None else int(self._first_overflow)
        if step:
            raise NotFiniteError(f"step {step}: the gradient is not finite")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to save a state that counts skipped steps as done."""
        self.check_finite()

    def on_train_end(self) -> None:
        """Make sure that training does not end with skipped steps unnoticed."""
        self.check_finite()

    def _loss(self, batch: TrainingBatch, likely: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Return the weighted cross-entropy of start and end over the tokens of each window, without padding.

        Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers" (2018), section 4.2. Each of several
        answers counts by its weight; where there are teachers, their probabilities are learnt, too.

        :param likely: the teachers' probabilities for the batch, where they are known already
        """
        with CheapDropout() if self._drops_cheaply else nullcontext():
            logits = masked_logits(self._compiled or self.model, batch, ready_mask=self._ready_mask)
        labels = torch.zeros((), device=logits[0].device)
        for one, positions in zip(logits, (batch.start_positions, batch.end_positions), strict=True):
            labels = labels - (one.log_softmax(dim=-1).gather(1, positions) * batch.weights).sum() / 2
        if self._teachers is None:
            return labels
        likely = likely or self._teachers.probabilities(batch)
        said = torch.zeros_like(labels)
        for one, expected in zip(logits, likely, strict=True):
            each = (expected * (one / TEMPERATURE).log_softmax(dim=-1)).sum(dim=1)
            said = said - (each * batch.weights.sum(dim=1)).sum() / 2
        taught = self._recipe.teacher_weight
        # The square of the temperature makes gradients as large as at a temperature of 1.
        return (1 - taught) * labels + taught * TEMPERATURE**2 * said

    def on_validation_model_zero_grad(self) -> None:
        """Keep the memory of gradients that graphs add to, which Lightning would free."""
        self.zero_grad(set_to_none=self._graphs is None)

    def watch_validation(self, tick: Callable[[int], None]) -> None:
        """Tell how far validations are.

        :param tick: called after every batch with the number of windows that this device read
        """
        if self._validator is not None:
            self._validator.tick = tick

    def on_validation_epoch_start(self) -> None:
        """Prepare a validation."""
        self.check_finite()
        if self._validator is not None:
            self._validator.begin(self.device, self.trainer.precision_plugin.val_step_context)

    def validation_step(self, batch: PreparedShard, batch_idx: int) -> None:
        """Answer a shard of the validation questions."""
        if self._validator is not None:
            self._validator.read(batch)

    def on_validation_epoch_end(self) -> None:
        """Gather the answers of all devices, and log EM and F1."""
        if self._validator is None:
            return
        self.figures = self._validator.figures()
        self.log("f1", self.figures.f1, rank_zero_only=False)
        self.log("exact_match", self.figures.exact)
