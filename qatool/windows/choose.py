"""Choose the parts of long documents that the model reads, and give each part a prior.

The more of a document the model reads, the more chances it has for a confident wrong span. Windows that share rare
terms with the question are likelier to hold its answer. The others are not read; of those that are read, the less
relevant ones have a lower prior. ``auto`` chooses among passages, which are parts of windows, because a model trained
on paragraphs reads those best. See ``docs/long-documents.md`` for figures.
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
"""Version of the rules for choosing, for passages and for relevance; a run begun under other rules is other work."""
SHORT_WINDOWS = 5
"""A document of at most so many windows counts as short: all of it is read, without a prior."""
AUTO_PASSAGES = 6
"""Most passages of a long document that ``auto`` reads."""
AUTO_GAP = 5.0
"""BM25 points below the best passage of the document from which ``auto`` does not read a passage."""
AUTO_TOKENS = 128
"""Fewest context tokens of a long document that ``auto`` reads; the best passage may only repeat the question."""
LEADING_TOKENS = 128
"""A best passage with fewer context tokens is taken to introduce the next one, which is then read, too."""
PRIOR_WEIGHT = 0.5
"""Logits taken off a window or passage for each BM25 point that it is below the best of its document."""
WEAK_RELEVANCE = 1.0
"""If the best window or passage has a lower BM25 score, the question shares no distinctive term with its document."""


@dataclass(frozen=True, kw_only=True)
class ChosenWindows:
    """The ``w`` windows to read, or passages of windows, which have the numbers of their windows."""

    examples: WindowedExamples
    prior: NDArray[np.float64] | None
    """``(w,)``: log prior of each window or passage, at most 0; ``None`` if all are 0."""


def choose_windows(examples: WindowedExamples, max_windows: MaxWindows, tokenizer: PairTokenizer) -> ChosenWindows:
    """Choose the ``max_windows`` most relevant windows of each example, the earlier ones among equals.

    ``auto`` cuts windows into passages and chooses among those (:func:`auto_choice`).

    Documents of at most ``SHORT_WINDOWS`` windows have no prior. Nor have those that share no distinctive term with
    the question: nothing distinguishes their windows, so ``auto`` reads them whole, and a fixed number of windows is
    spread evenly over them.

    :param tokenizer: the tokenizer of the examples, for the search terms of its tokens
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
    # Examples without a chosen window are read whole.
    whole = examples.windows.only((chosen.n_windows == 0)[examples.windows.overflow_to_sample_mapping])
    windows, order = Windows.merged(chosen, whole)
    return ChosenWindows(
        examples=replace(examples, windows=windows),
        prior=np.concatenate([prior[kept], np.zeros(len(whole))])[order],
    )


def auto_choice(passages_: Windows, relevance: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return which passages of long documents ``auto`` reads, and the log prior of each passage.

    ``auto`` reads at most ``AUTO_PASSAGES`` of an example. Beyond the first ``AUTO_TOKENS`` context tokens, it reads
    only passages less than ``AUTO_GAP`` below the best one, because others could hardly win against that; nor is a
    prior ever lower than that gap makes it. After a short best passage, such as the question in an interview, the
    next passage is read as well, without a handicap.

    :param relevance: ``(w,)``: BM25 score of each passage
    :returns: whether each passage is read ``(w,)``, and the log priors ``(w,)``
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
    """Return the 0-based rank of each window in its example by ``value (w,)``, highest and then earliest first."""
    order = np.lexsort((-value, windows.overflow_to_sample_mapping))
    rank = np.empty(len(windows), dtype=np.int64)
    rank[order] = positions(windows.n_windows)
    return rank


def _tokens_before(windows: Windows, rank: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return, for each window, the context tokens of all windows of its example that rank before it: ``(w,)``."""
    order = np.lexsort((rank, windows.overflow_to_sample_mapping))
    before = offsets_of(windows.context_length[order])[:-1]
    present = windows.n_windows[windows.n_windows > 0]
    before -= np.repeat(before[offsets_of(present)[:-1]], present)
    found = np.empty(len(windows), dtype=np.int64)
    found[order] = before
    return found


def _is_led(windows: Windows, rank: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which passages directly follow the best of their example, if that is a short one: ``(w,)``."""
    leads = (rank == 0) & (windows.context_length < LEADING_TOKENS)
    follows = np.diff(windows.overflow_to_sample_mapping, prepend=-1) == 0
    led: NDArray[np.bool_] = np.roll(leads, 1) & follows
    return led


def _spread(n_windows: NDArray[np.int64], limit: int) -> NDArray[np.float64]:
    """Return 1 for ``limit`` windows spread evenly over each example, 0 for the others: ``(w,)``."""
    position = positions(n_windows)
    total = np.repeat(n_windows, n_windows)
    # Window i is chosen when a multiple of total / limit falls on it.
    chosen: NDArray[np.bool_] = (position * limit) // total != ((position - 1) * limit) // total
    return chosen.astype(np.float64)
