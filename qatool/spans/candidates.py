"""Candidate answers of a shard as flat arrays, and what is kept of them for each example."""

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
    """Every span found in any window of a shard, window by window, best first: ``c`` candidates."""

    example: NDArray[np.int64]
    """``(c,)``: the example it answers."""
    row: NDArray[np.int64]
    """``(c,)``: the window, as a row of the shard's windows."""
    first_token: NDArray[np.int64]
    """``(c,)``: flat index of its first context token."""
    last_token: NDArray[np.int64]
    """``(c,)``: flat index of its last context token (inclusive)."""
    span_logit: NDArray[np.float32]
    """``(c,)``: start logit plus end logit."""

    @classmethod
    def of(cls, spans: SpanTable, examples: WindowedExamples) -> Candidates:
        """Flatten the spans found in all windows of ``examples``."""
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
    """The best spans of each of ``n`` examples, best first, as ragged arrays of ``r`` spans."""

    boundaries: NDArray[np.int64]
    """``(n + 1,)``: spans of example ``i`` are ``boundaries[i]:boundaries[i + 1]``."""
    start: NDArray[np.int64]
    """``(r,)``: first character in the context, in code points."""
    end: NDArray[np.int64]
    """``(r,)``: one past the last character."""
    score: NDArray[np.float32]
    """``(r,)``"""
    span_logit: NDArray[np.float32]
    """``(r,)``: start logit plus end logit."""
    null_logit: NDArray[np.float32]
    """``(r,)``: the null logit the score was set against."""
    window: NDArray[np.int32]
    """``(r,)``: number of the window within its example."""
    no_answer_score: NDArray[np.float32]
    """``(n,)``: in [0, 1]; NaN where no window was read."""


def top_k_of_each(
    example: Ints,
    rank_by: NDArray[np.floating],
    start: Ints,
    end: Ints,
    *,
    n_examples: int,
    top_k: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose the ``top_k`` best candidates of each example, none with the (start, end) of a better one.

    Ties are broken by start, then end, then order of the candidates: the choice is deterministic.

    :param example: ``(c,)`` example of each candidate
    :param rank_by: ``(c,)`` higher is better
    :param start: ``(c,)`` first character
    :param end: ``(c,)`` one past the last character
    :returns: the chosen candidates ``(r,)``, by example and rank, and their boundaries ``(n_examples + 1,)``
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
