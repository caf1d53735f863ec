"""Candidate answers of a shard as flat arrays, and the best of them for each example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qatool.windows.ragged import Ints, offsets_of, positions

if TYPE_CHECKING:
    from qatool.spans.search import SpanTable
    from qatool.windows.assemble import WindowedExamples


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """All ``c`` spans found in the windows of a shard, window by window, and best first in each window."""

    example: NDArray[np.int64]
    """``(c,)``: the example that each candidate answers."""
    row: NDArray[np.int64]
    """``(c,)``: the window of each candidate, as a row of the shard's windows."""
    first_token: NDArray[np.int64]
    """``(c,)``: the first token of each candidate, as an index into the tokens of all contexts."""
    last_token: NDArray[np.int64]
    """``(c,)``: the last token of each candidate (inclusive), as such an index."""
    span_logit: NDArray[np.float32]
    """``(c,)``: the logit of each candidate; see :attr:`SpanTable.logit`."""

    @classmethod
    def of(cls, spans: SpanTable, examples: WindowedExamples) -> Candidates:
        """Return the spans found in all windows of ``examples`` as flat arrays."""
        row, column = np.nonzero(np.isfinite(spans.logit))
        return cls(
            example=examples.windows.overflow_to_sample_mapping[row],
            row=row,
            first_token=examples.context_token(row, spans.start[row, column]),
            last_token=examples.context_token(row, spans.end[row, column] - 1),
            span_logit=spans.logit[row, column],
        )


@dataclass(frozen=True, kw_only=True)
class RankedSpans:
    """The best spans of each of ``n`` examples, best first, as ragged arrays of ``r`` spans in all."""

    boundaries: NDArray[np.int64]
    """``(n + 1,)``: spans of example ``i`` are ``boundaries[i]:boundaries[i + 1]``."""
    start: NDArray[np.int64]
    """``(r,)``: first character in the context, in code points."""
    end: NDArray[np.int64]
    """``(r,)``: one past the last character."""
    score: NDArray[np.float32]
    """``(r,)``: the score of each span, as the decoder defines it."""
    span_logit: NDArray[np.float32]
    """``(r,)``: start logit plus end logit."""
    null_logit: NDArray[np.float32]
    """``(r,)``: the null logit to compare the logit of the span with, that of its window or of its example."""
    window: NDArray[np.int32]
    """``(r,)``: number of the window within its example."""
    no_answer_score: NDArray[np.float32]
    """``(n,)``: the score of "no answer", in [0, 1]; NaN where no window was read."""


def top_k_of_each(
    example: Ints,
    rank_by: NDArray[np.floating],
    start: Ints,
    end: Ints,
    *,
    n_examples: int,
    top_k: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose the ``top_k`` best candidates of each example, no two with the same start and end.

    Ties are broken by start, then end, then order of the candidates, so the choice is deterministic.

    :param example: ``(c,)``: the example of each candidate
    :param rank_by: ``(c,)``: the value to rank by, higher is better
    :param start: ``(c,)``: the first character of each candidate
    :param end: ``(c,)``: one past the last character
    :returns: indices of the chosen candidates ``(r,)``, by example and rank, and the boundaries of the examples in
        them ``(n_examples + 1,)``
    """
    order = np.lexsort((-rank_by, end, start, example))
    keys = np.stack([example[order], start[order], end[order]])
    distinct = np.ones(len(order), dtype=bool)
    distinct[1:] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
    order = order[distinct]
    order = order[np.lexsort((end[order], start[order], -rank_by[order], example[order]))]
    counts = np.bincount(example[order], minlength=n_examples)
    rank = positions(counts)
    return order[rank < top_k], offsets_of(np.minimum(counts, top_k))
