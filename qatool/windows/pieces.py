"""All windows of a shard as ranges of one pool of tokens, from which a backend can assemble its own batches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from qatool.windows.assemble import WindowedExamples

PIECES = 5
"""Number of pieces of a window: prefix, question, middle, context, suffix."""
_CONTEXT = 3


@dataclass(frozen=True, kw_only=True)
class WindowPieces:
    """The ``w`` windows of a shard, shortest first: start and length, in the pool, of the five pieces of each.

    With ten numbers for each window, thousands of windows take some megabytes.
    """

    pool: NDArray[np.int32]
    """``(p,)``: all tokens: special tokens, then all questions, then all contexts."""
    type_pool: NDArray[np.int8] | None
    """``(p,)``: token types, ``None`` if the model has none."""
    starts: NDArray[np.int32]
    """``(w, 5)``: start of each piece in the pool."""
    sizes: NDArray[np.int32]
    """``(w, 5)``: tokens of each piece."""
    order: NDArray[np.int64]
    """``(w,)``: index of each window among the windows of the examples."""
    contexts_at: int
    """Index in the pool at which the contexts begin."""
    pad_token_id: int
    null_in_suffix: bool
    """Whether the classification token is the last token of a window instead of the first."""

    @classmethod
    def of(cls, examples: WindowedExamples) -> WindowPieces:
        """Return the pieces of all windows of ``examples``."""
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
        """Return only the windows at the ascending indices ``windows (f,)``; :attr:`order` keeps their numbers."""
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
