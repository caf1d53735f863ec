"""Choose the windows of long documents that are worth reading, and how much to trust each beforehand.

The more windows of a document the model reads, the more chances it has for a confident wrong span. Windows that
share rare terms with the question are likelier to hold its answer; the others are not read, and of those read the
less relevant ones start with a handicap. See ``docs/long-documents.md`` for what that gains.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from qatool.windows.ragged import ranges
from qatool.windows.relevance import bm25

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qatool.windows.assemble import WindowedExamples

MaxWindows: TypeAlias = int | Literal["all", "auto"]

AUTO_WINDOWS = 5
"""Windows that ``auto`` reads at most. A document of no more is short: read whole, without a prior."""
AUTO_GAP = 5.0
"""Points of BM25 behind the best window of its document from which on ``auto`` leaves a window unread."""
PRIOR_WEIGHT = 0.5
"""Logits a window starts behind for each point of BM25 that it has less than the best of its document."""
WEAK_RELEVANCE = 1.0
"""Below this BM25 score of the best window a question shares nothing telling with its document."""


@dataclass(frozen=True, kw_only=True)
class ChosenWindows:
    """The windows to read."""

    examples: WindowedExamples
    prior: NDArray[np.float64] | None
    """``(w,)``: log prior of each window, at most 0; ``None`` where all are 0."""


def choose_windows(examples: WindowedExamples, max_windows: MaxWindows) -> ChosenWindows:
    """Keep the ``max_windows`` most relevant windows of each example, earlier ones first among equals.

    ``auto`` reads at most ``AUTO_WINDOWS``, and of those only what lies less than ``AUTO_GAP`` behind the best: where
    one window stands out, the others could hardly win against it.

    Documents of at most ``AUTO_WINDOWS`` windows have no prior. A question that shares nothing telling with its
    document tells no windows apart: it has no prior either, ``auto`` reads the whole document, and a fixed number
    of windows is spread evenly over it.
    """
    n_windows = examples.windows.n_windows
    long = n_windows > (AUTO_WINDOWS if max_windows in ("all", "auto") else min(AUTO_WINDOWS, int(max_windows)))
    if not long.any():
        return ChosenWindows(examples=examples, prior=None)
    sample = examples.windows.overflow_to_sample_mapping
    candidates = np.flatnonzero(long[sample])
    relevance = np.zeros(len(sample))
    relevance[candidates] = bm25(replace(examples, windows=examples.windows.only(long[sample])))
    best = np.zeros(len(n_windows))
    np.maximum.at(best, sample, relevance)
    telling = best >= WEAK_RELEVANCE
    has_prior = (telling & (n_windows > AUTO_WINDOWS))[sample]
    prior = np.where(has_prior, PRIOR_WEIGHT * (relevance - best[sample]), 0.0)
    if max_windows == "all":
        return ChosenWindows(examples=examples, prior=prior)
    limit = AUTO_WINDOWS if max_windows == "auto" else int(max_windows)
    value = np.where(telling[sample], relevance, _spread(n_windows, limit))
    order = np.lexsort((-value, sample))
    rank = np.empty(len(sample), dtype=np.int64)
    rank[order] = ranges(np.zeros(len(n_windows), dtype=np.int64), n_windows)
    kept = (rank < limit) | ~long[sample]
    if max_windows == "auto":
        kept &= ~long[sample] | (relevance > best[sample] - AUTO_GAP)
        kept |= ~telling[sample]
    return ChosenWindows(examples=replace(examples, windows=examples.windows.only(kept)), prior=prior[kept])


def _spread(n_windows: NDArray[np.int64], limit: int) -> NDArray[np.float64]:
    """Return 1 for ``limit`` windows spread evenly over each example's, 0 for the others: ``(w,)``."""
    position = ranges(np.zeros(len(n_windows), dtype=np.int64), n_windows)
    total = np.repeat(n_windows, n_windows)
    # Window i is chosen when a multiple of total / limit falls on it.
    chosen: NDArray[np.bool_] = (position * limit) // total != ((position - 1) * limit) // total
    return chosen.astype(np.float64)
