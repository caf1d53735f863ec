"""The windows to train on: folders of features as one table in Arrow's cache, and batches of tensors from it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from qatool.errors import InputError
from qatool.features.reader import FeaturesFolder
from qatool.files.formats.parquet import arrow_source
from qatool.training.batches import Grain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray


_COLUMNS = (
    "input_ids", "token_type_ids", "start_positions", "end_positions", "all_start_positions", "all_end_positions"
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TrainingBatch:
    """The labelled windows of a micro-batch, padded on the right; there may be additional rows of weight 0."""

    input_ids: Tensor
    """``(b, t)``, int64"""
    attention_mask: Tensor
    """``(b, t)``, int64: 1 where there is a token"""
    token_type_ids: Tensor | None
    """``(b, t)``, or ``None`` where the model has none"""
    start_positions: Tensor
    """``(b, k)``, int64: the first token of each of up to ``k`` answers in a window"""
    end_positions: Tensor
    """``(b, k)``, int64: the last token of each answer"""
    weights: Tensor
    """``(b, k)``, float32: the weight of each answer, 0 where there is none; those of a step add up to 1 on each
    device, in the mean over devices."""
    windows: int
    """How many rows are windows; the others are padding."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(b, t)``: rows and tokens, padding included."""
        return tuple(self.input_ids.shape)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors by name, without those that are ``None``."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in values if isinstance(value, Tensor)}

    def to(self, device: torch.device) -> TrainingBatch:
        """Return the batch on a device."""
        return self._each(lambda value: value.to(device, non_blocking=True))

    def pin_memory(self) -> TrainingBatch:
        """Return the batch in pinned memory, from which it is copied to a card without waiting."""
        return self._each(Tensor.pin_memory)

    def _each(self, changed: Callable[[Tensor], Tensor]) -> TrainingBatch:
        values: dict[str, Any] = {name: changed(value) for name, value in self.tensors().items()}
        return replace(self, **values)


_NO_LABEL = (
    "TRAIN: no row has a label; give each an answers column with text and answer_start, empty lists for unanswerable "
    "questions"
)


class TrainingWindows:
    """The labelled windows of several folders of features, memory-mapped, in the order of the folders.

    :param folders: folders that ``qatool prep`` made with one tokenizer
    :param cache: the folder where ``datasets`` keeps its Arrow files
    :param all_answers: whether to learn every answer of a window, each weighted by its share of those given, and not
        only the first
    :raises InputError: there is no labelled window, or all answers are wanted and a folder lists only the first
    """

    def __init__(
        self, folders: Sequence[FeaturesFolder], *, pad_token_id: int, cache: Path, all_answers: bool = False
    ) -> None:
        from datasets import concatenate_datasets, disable_progress_bars

        disable_progress_bars()
        for folder in folders if all_answers else ():
            if folder.manifest.answers != "all":
                raise InputError(
                    f"{folder.path}: lists the first answer of each window only; make the features again with "
                    "--answers all, or train with --answers first"
                )
        self._pad = pad_token_id
        # Empty folders stay in the list: windows refer to folders by number.
        tables = [_cached(folder, cache) for folder in folders]
        if not any(map(len, tables)):
            raise InputError(_NO_LABEL)
        self._dataset = concatenate_datasets([table for table in tables if len(table)]).with_format("arrow")
        column = self._dataset.data.column("start_positions")
        self.rows: NDArray[np.int64] = np.flatnonzero(column.is_valid().to_numpy())
        """``(n,)``: the rows that have a label, that is, whose ``start_positions`` is not null."""
        if not len(self.rows):
            raise InputError(_NO_LABEL)
        lengths = pc.list_value_length(self._dataset.data.column("input_ids")).to_numpy()
        self.lengths: NDArray[np.int64] = lengths[self.rows].astype(np.int64)
        """``(n,)``: tokens of each labelled window."""
        self._longest = int(self.lengths.max())
        places = np.repeat(np.arange(len(tables)), [len(table) for table in tables])[self.rows]
        self.folder: NDArray[np.int64] = places
        """``(n,)``: the number of the folder of each labelled window."""
        self._most_answers = 0
        if all_answers:
            counts = pc.list_value_length(self._dataset.data.column("all_start_positions"))
            self._most_answers = max(1, pc.max(counts).as_py())

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, chosen: NDArray[np.int64], *, share: float, grain: Grain | None = None) -> TrainingBatch:
        """Return the ``chosen`` labelled windows ``(b,)`` as tensors.

        :param share: sum of the weights of these windows in the loss of the step
        :param grain: sizes to pad rows and tokens to multiples of
        """
        table: pa.Table = self._dataset[self.rows[chosen]]
        grain = grain or Grain()
        rows = grain.height(len(chosen))
        width = grain.width(int(self.lengths[chosen].max(initial=0)), self._longest)
        lengths = np.zeros(rows, dtype=np.int64)
        lengths[: len(chosen)] = self.lengths[chosen]
        filled = np.arange(width) < lengths[:, None]

        def padded(name: str, value: int) -> Tensor:
            values = np.full(filled.shape, value, dtype=np.int64)
            values[filled] = pc.list_flatten(table[name]).to_numpy()
            return torch.from_numpy(values)

        starts, ends, weights = self._labels(table, rows)
        mask = filled.astype(np.int64)
        # A padding row gets one token, as its softmax would otherwise be undefined.
        mask[len(chosen) :, :1] = 1
        return TrainingBatch(
            input_ids=padded("input_ids", self._pad),
            attention_mask=torch.from_numpy(mask),
            token_type_ids=padded("token_type_ids", 0) if "token_type_ids" in table.column_names else None,
            start_positions=torch.from_numpy(starts),
            end_positions=torch.from_numpy(ends),
            weights=torch.from_numpy(weights * np.float32(share / max(1, len(chosen)))),
            windows=len(chosen),
        )

    def _labels(self, table: pa.Table, rows: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Return the first and last token, and the share, of each answer of each window, ``(rows, k)`` each."""
        most = max(1, self._most_answers)
        starts, ends = np.zeros((rows, most), dtype=np.int64), np.zeros((rows, most), dtype=np.int64)
        weights = np.zeros((rows, most), dtype=np.float32)
        count = len(table)
        starts[:count, 0], ends[:count, 0] = (_integers(table[name]) for name in ("start_positions", "end_positions"))
        weights[:count, 0] = 1
        if self._most_answers:
            answers = np.zeros(rows, dtype=np.int64)
            answers[:count] = _integers(pc.fill_null(pc.list_value_length(table["all_start_positions"]), 0))
            there = np.arange(most) < answers[:, None]
            for values, name in ((starts, "all_start_positions"), (ends, "all_end_positions")):
                values[there] = _integers(pc.list_flatten(table[name]))
            several = answers > 0
            weights[several] = there[several] / answers[several, None]
        return starts, ends, weights


def _cached(folder: FeaturesFolder, cache: Path) -> Any:
    """Return the features of a folder as a memory-mapped dataset, an empty list where it has no windows."""
    from datasets import Dataset

    # A part whose rows were all rejected has no windows, and datasets cannot read it.
    files = [file for file in map(folder.features, range(folder.parts)) if _metadata(file).num_rows]
    if not files:
        return []
    names = set(_metadata(files[0]).schema.to_arrow_schema().names)
    columns = [name for name in _COLUMNS if name in names]
    # Cached by content: datasets would tell files apart only by path and time.
    told = json.dumps(folder.manifest.as_json(), sort_keys=True).encode()
    own = cache / hashlib.sha256(told).hexdigest()[:32]
    return Dataset.from_parquet([str(file) for file in files], cache_dir=str(own), columns=columns).select_columns(
        columns
    )


def _metadata(file: Path) -> pq.FileMetaData:
    return pq.read_metadata(arrow_source(file))


def _integers(values: Any) -> NDArray[np.int64]:
    found: NDArray[np.int64] = values.to_numpy(zero_copy_only=False).astype(np.int64)
    return found
