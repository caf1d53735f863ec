"""Choose what of long documents is worth reading, and how much to trust each part beforehand.

The more of a document the model reads, the more chances it has for a confident wrong span. Windows that share rare
terms with the question are likelier to hold its answer; the others are not read, and of those read the less relevant
ones start with a handicap. ``auto`` looks closer, and reads passages of windows: a model trained on paragraphs reads
those best. See ``docs/long-documents.md`` for what that gains.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from qatool.windows.cut import Windows
from qatool.windows.passages import passages
from qatool.windows.ragged import offsets_of, positions
from qatool.windows.relevance import bm25

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qatool.windows.assemble import WindowedExamples
    from qatool.windows.tokenizer import PairTokenizer

MaxWindows: TypeAlias = int | Literal["all", "auto"]

RULES = 4
"""Number of the rules below, of passages and of relevance: with others, what was begun is not the same work."""
SHORT_WINDOWS = 5
"""A document of no more windows is short: read whole, without a prior."""
AUTO_PASSAGES = 6
"""Passages that ``auto`` reads at most of a long one."""
AUTO_GAP = 5.0
"""Points of BM25 behind the best passage of its document from which on ``auto`` leaves a passage unread."""
AUTO_TOKENS = 128
"""Context tokens that ``auto`` reads of a long document at least: the best passage may but repeat the question."""
LEADING_TOKENS = 128
"""Context tokens of the shortest best passage that is not taken for the beginning of what follows it."""
PRIOR_WEIGHT = 0.5
"""Logits that what is read starts behind for each point of BM25 that it has less than the best of its document."""
WEAK_RELEVANCE = 1.0
"""Below this BM25 score of the best window or passage a question shares nothing telling with its document."""


@dataclass(frozen=True, kw_only=True)
class ChosenWindows:
    """What to read: windows, or passages of them under the numbers of their windows."""

    examples: WindowedExamples
    prior: NDArray[np.float64] | None
    """``(w,)``: log prior of each, at most 0; ``None`` where all are 0."""


def choose_windows(examples: WindowedExamples, max_windows: MaxWindows, tokenizer: PairTokenizer) -> ChosenWindows:
    """Keep the ``max_windows`` most relevant windows of each example, earlier ones first among equals.

    ``auto`` cuts windows into passages and chooses among those (:func:`auto_choice`).

    Documents of at most ``SHORT_WINDOWS`` windows have no prior. A question that shares nothing telling with its
    document tells no windows apart: it has no prior either, ``auto`` reads the whole document, and a fixed number
    of windows is spread evenly over it.

    :param tokenizer: what the examples were tokenised with; it knows which tokens tell a passage from another
    """
    n_windows = examples.windows.n_windows
    long = n_windows > (SHORT_WINDOWS if max_windows in ("all", "auto") else min(SHORT_WINDOWS, int(max_windows)))
    if not long.any():
        return ChosenWindows(examples=examples, prior=None)
    candidates = examples.windows.only(long[examples.windows.overflow_to_sample_mapping])
    if max_windows == "auto":
        candidates = passages(replace(examples, windows=candidates))
    relevance = bm25(replace(examples, windows=candidates), tokenizer.terms)
    sample = candidates.overflow_to_sample_mapping
    best = _highest(candidates, relevance)
    telling = best >= WEAK_RELEVANCE
    has_prior = (telling & (n_windows > SHORT_WINDOWS))[sample]
    prior = np.where(has_prior, PRIOR_WEIGHT * (relevance - best[sample]), 0.0)
    kept = np.ones(len(candidates), dtype=bool)
    if max_windows == "auto":
        kept, prior = auto_choice(candidates, relevance)
        kept &= telling[sample]
    elif max_windows != "all":
        spread = _spread(candidates.n_windows, int(max_windows))
        kept = _rank(candidates, np.where(telling[sample], relevance, spread)) < int(max_windows)
    chosen = candidates.only(kept)
    # Of the others every window is read.
    whole = examples.windows.only((chosen.n_windows == 0)[examples.windows.overflow_to_sample_mapping])
    windows, order = Windows.merged(chosen, whole)
    return ChosenWindows(
        examples=replace(examples, windows=windows),
        prior=np.concatenate([prior[kept], np.zeros(len(whole))])[order],
    )


def auto_choice(passages_: Windows, relevance: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return which passages of long documents ``auto`` reads: ``(w,)``, and the log prior of each: ``(w,)``.

    At most ``AUTO_PASSAGES`` of an example and, beyond the first ``AUTO_TOKENS``, only what lies less than
    ``AUTO_GAP`` behind the best: where one stands out, the others could hardly win against it. What lies further
    behind has no greater handicap than that. A short best passage, as the question of an interview is, is read with
    the one behind it, which then has no handicap.

    :param relevance: ``(w,)``
    """
    rank = _rank(passages_, relevance)
    behind = _highest(passages_, relevance)[passages_.overflow_to_sample_mapping] - relevance
    is_led = _is_led(passages_, rank)
    is_read = (behind < AUTO_GAP) | (_tokens_before(passages_, rank) < AUTO_TOKENS)
    prior = np.where(is_led, 0.0, -PRIOR_WEIGHT * np.minimum(behind, AUTO_GAP))
    return is_read & (rank < AUTO_PASSAGES) | is_led, prior


def _highest(windows: Windows, value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the highest ``value (w,)`` among the windows of each example, at least 0: ``(n,)``."""
    highest = np.zeros(len(windows.n_windows))
    np.maximum.at(highest, windows.overflow_to_sample_mapping, value)
    return highest


def _rank(windows: Windows, value: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the place of each window among its example's by ``value (w,)``, highest and then earliest first."""
    order = np.lexsort((-value, windows.overflow_to_sample_mapping))
    rank = np.empty(len(windows), dtype=np.int64)
    rank[order] = positions(windows.n_windows)
    return rank


def _tokens_before(windows: Windows, rank: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the context tokens of those of each window's example that rank before it: ``(w,)``."""
    order = np.lexsort((rank, windows.overflow_to_sample_mapping))
    before = offsets_of(windows.context_length[order])[:-1]
    present = windows.n_windows[windows.n_windows > 0]
    before -= np.repeat(before[offsets_of(present)[:-1]], present)
    found = np.empty(len(windows), dtype=np.int64)
    found[order] = before
    return found


def _is_led(windows: Windows, rank: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which passages stand behind the best of their example, where that is short: ``(w,)``."""
    leads = (rank == 0) & (windows.context_length < LEADING_TOKENS)
    follows = np.diff(windows.overflow_to_sample_mapping, prepend=-1) == 0
    led: NDArray[np.bool_] = np.roll(leads, 1) & follows
    return led


def _spread(n_windows: NDArray[np.int64], limit: int) -> NDArray[np.float64]:
    """Return 1 for ``limit`` windows spread evenly over each example's, 0 for the others: ``(w,)``."""
    position = positions(n_windows)
    total = np.repeat(n_windows, n_windows)
    # Window i is chosen when a multiple of total / limit falls on it.
    chosen: NDArray[np.bool_] = (position * limit) // total != ((position - 1) * limit) // total
    return chosen.astype(np.float64)
