"""The DataModule; one item of its loader is one whole optimiser step, so that a run can continue at any step."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset, Sampler

from qatool.training.batches import Grain, StepPlan, micro_batches
from qatool.training.windows import TrainingBatch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qatool.extraction.answering.extractor import PreparedShard
    from qatool.training.windows import TrainingWindows

_LOADER_WORKERS = 4
"""Processes that make batches for a card; a CPU that trains has no cores to spare for them."""
_GRAPH_GRAIN = Grain(rows=8, tokens=16)
"""Padding for CUDA graphs, of which each shape of batch needs its own; it makes up 4 % of a step."""


class QuestionAnsweringData(LightningDataModule):
    """The steps to train on and the shards to validate on, divided among the devices.

    :param windows: the labelled windows to train on
    :param plan: decides which windows each step reads
    :param batch_tokens: most tokens in a micro-batch, padding included
    :param shards: the prepared validation questions; empty for no validation
    """

    def __init__(
        self, windows: TrainingWindows, plan: StepPlan, *, batch_tokens: int, shards: Sequence[PreparedShard]
    ) -> None:
        super().__init__()
        self._windows = windows
        self._plan = plan
        self._batch_tokens = batch_tokens
        self._shards = shards
        self._first = 0

    def train_dataloader(self) -> DataLoader[list[TrainingBatch]]:
        """Return the steps that are left, each a list of micro-batches."""
        on_card = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        module = None if self.trainer is None else self.trainer.lightning_module
        rank, world = self._place()
        return DataLoader(
            _Steps(
                self._windows,
                self._plan,
                self._batch_tokens,
                grain=_GRAPH_GRAIN if getattr(module, "steps_are_graphs", False) else Grain(),
                rank=rank,
                world=world,
            ),
            batch_size=None,
            sampler=_From(self._first, self._plan.steps),
            num_workers=_LOADER_WORKERS if on_card else 0,
            pin_memory=on_card,
            prefetch_factor=8 if on_card else None,
        )

    def val_dataloader(self) -> DataLoader[PreparedShard] | list[Any]:
        """Return this device's shards of the validation questions."""
        if not self._shards:
            return []
        return DataLoader(_Listed(self._own_shards()), batch_size=None, num_workers=0)

    @property
    def validation_windows(self) -> int:
        """The number of windows that this device reads in a validation."""
        return sum(len(shard.examples.windows) for shard in self._own_shards())

    def _own_shards(self) -> Sequence[PreparedShard]:
        rank, world = self._place()
        # With fewer shards than devices, the rest read the first shard, too; each example still counts only once.
        return self._shards[rank::world] or self._shards[:1]

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move the micro-batches of a training step; validation shards are moved batch by batch as they are read."""
        return [one.to(device) for one in batch] if isinstance(batch, list) else batch

    def state_dict(self) -> dict[str, Any]:
        """Return the number of steps done, for the checkpoint."""
        return {"step": 0 if self.trainer is None else self.trainer.global_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue after the steps that were done when the checkpoint was made."""
        self._first = state_dict["step"]

    def _place(self) -> tuple[int, int]:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)


class _Steps(Dataset[list[TrainingBatch]]):
    """This device's share of every step."""

    def __init__(
        self,
        windows: TrainingWindows,
        plan: StepPlan,
        batch_tokens: int,
        *,
        grain: Grain,
        rank: int,
        world: int,
    ) -> None:
        self._windows, self._plan, self._batch_tokens, self._grain = windows, plan, batch_tokens, grain
        self._rank, self._world = rank, world

    def __len__(self) -> int:
        return self._plan.steps

    def __getitem__(self, step: int) -> list[TrainingBatch]:
        rows = self._plan.rows(step)
        own = rows[self._rank :: self._world]
        # Devices synchronise after each batch, so all must have equally many: as many as the first device, whose
        # windows are the longest and most.
        cuts = list(micro_batches(rows[:: self._world], self._windows.lengths, self._batch_tokens, self._grain))
        bounds = np.cumsum([0, *map(len, cuts)]).tolist()
        # Gradients are averaged over devices; with this weight, the loss is the mean over all windows of the step.
        each = self._world / len(rows)
        parts = [own[first:last] for first, last in pairwise(bounds)]
        return [
            self._windows.batch(part, share=len(part) * each, grain=self._grain)
            if len(part)
            # A device without a window must still take part, with a window of weight 0.
            else self._windows.batch(rows[:1], share=0.0, grain=self._grain)
            for part in parts
        ]


class _From(Sampler[int]):
    """Samples the steps that are left; its length is that of the whole run, as Lightning expects."""

    def __init__(self, first: int, steps: int) -> None:
        self._first, self._steps = first, steps

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._first, self._steps))

    def __len__(self) -> int:
        return self._steps


class _Listed(Dataset["PreparedShard"]):
    def __init__(self, shards: Sequence[PreparedShard]) -> None:
        self._shards = shards

    def __len__(self) -> int:
        return len(self._shards)

    def __getitem__(self, place: int) -> PreparedShard:
        return self._shards[place]
