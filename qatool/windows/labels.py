"""Token spans of the answers within the windows, found for all examples of a shard at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from qatool.windows.assemble import WindowedExamples
    from qatool.windows.ragged import Ints

NO_TOKEN = -1


@dataclass(frozen=True, kw_only=True)
class AnswerTokens:
    """The half-open ranges of context tokens that cover each of ``a`` answers, counted within the context."""

    start: NDArray[np.int64]
    """``(a,)``: first token; ``NO_TOKEN`` if no token of the context overlaps the answer."""
    end: NDArray[np.int64]
    """``(a,)``: one past the last token, or ``NO_TOKEN``."""


@dataclass(frozen=True, kw_only=True)
class WindowSpans:
    """The ``p`` pairs of a window and an answer that it contains whole, in order of windows, then answers."""

    window: NDArray[np.int64]
    """``(p,)``: index of the window."""
    answer: NDArray[np.int64]
    """``(p,)``: index of the answer."""
    start: NDArray[np.int64]
    """``(p,)``: position of the answer's first token in the window, the ``start_positions`` of training."""
    end: NDArray[np.int64]
    """``(p,)``: position of the answer's last token, inclusive, the ``end_positions`` of training."""


def answer_tokens(examples: WindowedExamples, *, sample: Ints, answer_start: Ints, answer_end: Ints) -> AnswerTokens:
    """Find the context tokens that cover each answer.

    The first is the first token that ends after the answer's start, the last is the last token that starts before the
    answer's end, so that tokens that overlap the answer in part are included. An answer that no token overlaps (white
    space, say) has none.

    :param sample: ``(a,)``: the example of each answer
    :param answer_start: ``(a,)``: start of each answer in its context, in code points
    :param answer_end: ``(a,)``: end of each answer, exclusive
    :raises ValueError: the contexts were tokenised without offsets
    """
    contexts = examples.contexts
    if contexts.offset_mapping is None:
        raise ValueError("offsets of the contexts are needed")
    context = examples.context_index[np.asarray(sample, dtype=np.int64)]
    # Offsets of all contexts are put on one number line, so that one binary search finds all answers. A tokenizer may
    # yield tokens out of order; running extremes keep the search exact, and do not cross into another context.
    furthest = max(int(contexts.offset_mapping.max(initial=0)), int(np.max(answer_end, initial=0))) + 1
    line = np.repeat(np.arange(len(contexts.lengths)), contexts.lengths) * furthest
    reached = np.maximum.accumulate(line + contexts.offset_mapping[:, 1])
    begun = np.minimum.accumulate((line + contexts.offset_mapping[:, 0])[::-1])[::-1]
    first = np.searchsorted(reached, context * furthest + answer_start, side="right")
    end = np.searchsorted(begun, context * furthest + answer_end, side="left")
    base = contexts.offsets[context]
    covered = (first < end) & (np.asarray(answer_start) < answer_end)
    return AnswerTokens(start=np.where(covered, first - base, NO_TOKEN), end=np.where(covered, end - base, NO_TOKEN))


def window_spans(
    examples: WindowedExamples, tokens: AnswerTokens, *, sample: Ints, context_position: Ints
) -> WindowSpans:
    """Find the windows that contain each answer whole, and its position in them.

    :param tokens: the context tokens of the ``a`` answers
    :param sample: ``(a,)``: the example of each answer, ascending
    :param context_position: ``(w,)``: position of the first context token in each window
    """
    windows = examples.windows
    sample = np.asarray(sample, dtype=np.int64)
    boundaries = windows.boundaries
    n_windows = windows.n_windows[sample]
    answer = np.repeat(np.arange(len(sample)), n_windows)
    within = np.arange(len(answer)) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
    window = boundaries[sample[answer]] + within
    start, end = tokens.start[answer], tokens.end[answer]
    held = (start != NO_TOKEN) & (start >= windows.context_start[window]) & (end <= windows.context_end[window])
    window, answer, start, end = window[held], answer[held], start[held], end[held]
    order = np.lexsort((answer, window))
    window, answer, start, end = window[order], answer[order], start[order], end[order]
    shift = np.asarray(context_position)[window] - windows.context_start[window]
    return WindowSpans(window=window, answer=answer, start=start + shift, end=end + shift - 1)
