"""All windows of a shard as ranges of one pool of tokens: whoever reads them can put batches together itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from qatool.windows.assemble import WindowedExamples

PIECES = 5
"""Of a window: prefix, question, middle, context, suffix."""
_CONTEXT = 3


@dataclass(frozen=True, kw_only=True)
class WindowPieces:
    """The ``w`` windows of a shard, shortest first: where in the pool their five pieces begin, and how long they are.

    A pool of ``p`` tokens and ten numbers a window: some megabytes for thousands of windows.
    """

    pool: NDArray[np.int32]
    """``(p,)``: special tokens, all questions, all contexts."""
    type_pool: NDArray[np.int8] | None
    """``(p,)``: token types, ``None`` where the model has none."""
    starts: NDArray[np.int32]
    """``(w, 5)``"""
    sizes: NDArray[np.int32]
    """``(w, 5)``"""
    order: NDArray[np.int64]
    """``(w,)``: which of the examples' windows each one is."""
    contexts_at: int
    """Where in the pool the contexts begin."""
    pad_token_id: int
    null_in_suffix: bool
    """Whether the classification token is the last of a window and not the first."""

    @classmethod
    def of(cls, examples: WindowedExamples) -> WindowPieces:
        """Take the windows of ``examples`` apart."""
        order = np.argsort(examples.lengths, kind="stable")
        starts, sizes = examples.pieces(order)
        return cls(
            pool=examples.pool,
            type_pool=examples.type_pool if examples.uses_token_types else None,
            starts=starts.astype(np.int32),
            sizes=sizes.astype(np.int32),
            order=order,
            contexts_at=examples.template.n_special + len(examples.questions.input_ids),
            pad_token_id=examples.pad_token_id,
            null_in_suffix=examples.template.null_in_suffix,
        )

    def only(self, windows: NDArray[np.intp]) -> WindowPieces:
        """Return ``windows (f,)`` alone, ascending; what :attr:`order` says of them stays as it is."""
        return replace(self, starts=self.starts[windows], sizes=self.sizes[windows], order=self.order[windows])

    def __len__(self) -> int:
        return len(self.order)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each window, ascending: ``(w,)``."""
        lengths: NDArray[np.int64] = self.sizes.sum(axis=1, dtype=np.int64)
        return lengths

    @property
    def context_first(self) -> NDArray[np.int64]:
        """Position of the first context token of each window: ``(w,)``."""
        first: NDArray[np.int64] = self.sizes[:, :_CONTEXT].sum(axis=1, dtype=np.int64)
        return first

    @property
    def context_length(self) -> NDArray[np.int64]:
        """Context tokens of each window: ``(w,)``."""
        return self.sizes[:, _CONTEXT].astype(np.int64)

    @property
    def context_start(self) -> NDArray[np.int64]:
        """Flat index, within the contexts, of the first context token of each window: ``(w,)``."""
        return self.starts[:, _CONTEXT].astype(np.int64) - self.contexts_at

    @property
    def null_position(self) -> NDArray[np.int64]:
        """Position of the classification token of each window: ``(w,)``."""
        return self.lengths - 1 if self.null_in_suffix else np.zeros(len(self), dtype=np.int64)
