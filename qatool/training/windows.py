"""The windows to learn from: features folders as one table in Arrow's cache, and batches of tensors from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc
import torch
from torch import Tensor

from qatool.errors import InputError
from qatool.features.reader import FeaturesFolder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray


_COLUMNS = ("input_ids", "token_type_ids", "start_positions", "end_positions")


@dataclass(frozen=True, kw_only=True)
class TrainingBatch:
    """Labelled windows of one micro-batch, padded on the right."""

    input_ids: Tensor
    """``(b, t)``, int64"""
    attention_mask: Tensor
    """``(b, t)``, int64: 1 where there is a token"""
    token_type_ids: Tensor | None
    """``(b, t)``, or ``None`` where the model has none"""
    start_positions: Tensor
    """``(b,)``, int64"""
    end_positions: Tensor
    """``(b,)``, int64: the last token of the answer"""
    share: float
    """Part of the step's loss that this batch makes up, in [0, 1]."""

    def to(self, device: torch.device) -> TrainingBatch:
        """Return the batch on a device."""

        def moved(values: Tensor) -> Tensor:
            return values.to(device, non_blocking=True)

        return TrainingBatch(
            input_ids=moved(self.input_ids),
            attention_mask=moved(self.attention_mask),
            token_type_ids=None if self.token_type_ids is None else moved(self.token_type_ids),
            start_positions=moved(self.start_positions),
            end_positions=moved(self.end_positions),
            share=self.share,
        )

    def pin_memory(self) -> TrainingBatch:
        """Return the batch in memory that a card copies from without waiting."""
        return TrainingBatch(
            input_ids=self.input_ids.pin_memory(),
            attention_mask=self.attention_mask.pin_memory(),
            token_type_ids=None if self.token_type_ids is None else self.token_type_ids.pin_memory(),
            start_positions=self.start_positions.pin_memory(),
            end_positions=self.end_positions.pin_memory(),
            share=self.share,
        )


class TrainingWindows:
    """Labelled windows of several folders of features, memory-mapped: a row each, in order of the folders.

    :param folders: made by ``qatool prep`` with one tokenizer
    :param cache: where ``datasets`` keeps its Arrow files
    :raises InputError: there is no labelled window
    """

    def __init__(self, folders: Sequence[FeaturesFolder], *, pad_token_id: int, cache: Path) -> None:
        from datasets import concatenate_datasets, disable_progress_bars

        disable_progress_bars()
        self._pad = pad_token_id
        tables = [_cached(folder, cache) for folder in folders]
        self._dataset = concatenate_datasets(tables).with_format("arrow")
        column = self._dataset.data.column("start_positions")
        self.rows: NDArray[np.int64] = np.flatnonzero(column.is_valid().to_numpy())
        """``(n,)``: the rows that have a label, ``-1`` or above."""
        if not len(self.rows):
            raise InputError(
                "TRAIN: no row has a label; give each an answers column with text and answer_start, "
                "empty lists for unanswerable questions"
            )
        lengths = pc.list_value_length(self._dataset.data.column("input_ids")).to_numpy()
        self.lengths: NDArray[np.int64] = lengths[self.rows].astype(np.int64)
        """``(n,)``: tokens of each labelled window."""
        folder = np.repeat(np.arange(len(tables)), [len(table) for table in tables])[self.rows]
        self.folder: NDArray[np.int64] = folder
        """``(n,)``: the folder of each labelled window."""

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, chosen: NDArray[np.int64], *, share: float) -> TrainingBatch:
        """Return the ``chosen`` labelled windows ``(b,)`` as tensors."""
        table: pa.Table = self._dataset[self.rows[chosen]]
        lengths = self.lengths[chosen]
        filled = np.arange(lengths.max(initial=0)) < lengths[:, None]

        def padded(name: str, value: int) -> Tensor:
            values = np.full(filled.shape, value, dtype=np.int64)
            values[filled] = pc.list_flatten(table[name]).to_numpy()
            return torch.from_numpy(values)

        return TrainingBatch(
            input_ids=padded("input_ids", self._pad),
            attention_mask=torch.from_numpy(filled.astype(np.int64)),
            token_type_ids=padded("token_type_ids", 0) if "token_type_ids" in table.column_names else None,
            start_positions=_positions(table, "start_positions"),
            end_positions=_positions(table, "end_positions"),
            share=share,
        )


def _cached(folder: FeaturesFolder, cache: Path) -> Any:
    """Return the features of a folder as a memory-mapped dataset."""
    from datasets import Dataset

    files = [str(folder.features(index)) for index in range(folder.parts)]
    table = Dataset.from_parquet(files, cache_dir=str(cache), columns=_present(folder))
    return table.select_columns(_present(folder))


def _present(folder: FeaturesFolder) -> list[str]:
    import pyarrow.parquet as pq

    names = set(pq.read_schema(folder.features(0)).names)
    return [name for name in _COLUMNS if name in names]


def _positions(table: pa.Table, name: str) -> Tensor:
    return torch.from_numpy(table[name].to_numpy().astype(np.int64))
