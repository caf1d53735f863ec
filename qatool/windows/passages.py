"""Cut the windows of long documents into passages, along paragraphs: a model trained on paragraphs reads those best.

A heading is no passage, however well it fits the question: it belongs to what follows. Short paragraphs are taken
together, long ones are cut evenly.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from qatool.windows.cut import Windows
from qatool.windows.paragraphs import paragraph_ends
from qatool.windows.ragged import ranges

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qatool.windows.assemble import WindowedExamples
    from qatool.windows.tokenizer import TokenizedTexts

PASSAGE_TOKENS = 176
"""Context tokens of a passage that is a part of a paragraph."""
PASSAGE_STRIDE = 48
"""Context tokens that such a passage shares with the next one, at least."""
WHOLE_TOKENS = 320
"""Context tokens of the longest paragraph, or beginning or end of one in a window, that is a passage as it is."""
TOGETHER_TOKENS = 128
"""Context tokens that paragraphs have together at most, where several are one passage."""
HEADING_TOKENS = 32
"""Context tokens of the shortest paragraph that may be parted from the one that follows."""


@dataclass(frozen=True, kw_only=True)
class _Pieces:
    """What windows hold of paragraphs: ``p`` pieces, in order. What one holds whole is no piece of the next one."""

    row: NDArray[np.int64]
    """``(p,)``: the window."""
    first: NDArray[np.int64]
    """``(p,)``: first token within the context."""
    last: NDArray[np.int64]
    """``(p,)``: one past the last."""
    goes_on: NDArray[np.bool_]
    """``(p,)``: whether the paragraph goes on in the next window."""
    has_edge: NDArray[np.bool_]
    """``(p,)``: whether the paragraph begins or ends here, in a text of several."""
    following: NDArray[np.int64]
    """``(p,)``: first token of the next window."""

    @classmethod
    def of(cls, examples: WindowedExamples) -> _Pieces:
        """Find the paragraphs of windows; where none of an example is longer than a passage, each is one piece."""
        windows = examples.windows
        sample, start, end = windows.overflow_to_sample_mapping, windows.context_start, windows.context_end
        changes = sample[1:] != sample[:-1]
        is_first, is_last = np.append(True, changes)[: len(sample)], np.append(changes, True)[: len(sample)]
        following = np.where(is_last, end, np.append(start[1:], 0)[: len(sample)])
        before = np.where(is_first, 0, np.append(0, end[:-1])[: len(sample)])
        longest = np.zeros(len(windows.n_windows), dtype=np.int64)
        np.maximum.at(longest, sample, windows.context_length)
        is_cut = (longest > PASSAGE_TOKENS)[sample]
        # Paragraphs of all contexts in one ascending array, each context's behind those of the one before; behind all
        # of them is where windows look that stay whole.
        base = int(examples.contexts.lengths.max(initial=0)) + 1
        begins = _paragraphs(examples.contexts, np.unique(examples.context_index[sample[is_cut]]), base)
        context = np.where(is_cut, examples.context_index[sample], len(examples.contexts.texts)) * base
        # Each window has a piece from its start, and one from each paragraph that begins before the next window does.
        inner = np.searchsorted(begins, context + start, side="right")
        count = 1 + np.searchsorted(begins, context + np.minimum(following, end)) - inner
        row = np.repeat(np.arange(len(windows)), count)
        place = ranges(np.zeros(len(windows), dtype=np.int64), count)
        next_one = inner[row] + place
        padded = np.append(begins, 0)
        first = np.where(place == 0, start[row], padded[next_one - 1] - context[row])
        is_within = next_one < np.searchsorted(begins, context + end)[row]
        last = np.where(is_within, padded[next_one] - context[row], end[row])
        is_begun = (place > 0) | ((start == 0) | np.isin(context + start, begins))[row]
        goes_on = ~is_within & ~(is_last | np.isin(context + end, begins))[row]
        has_several = np.isin(context, begins // base * base)[row]
        kept = is_begun | (last > before[row])
        return cls(
            row=row[kept],
            first=first[kept],
            last=last[kept],
            goes_on=goes_on[kept],
            has_edge=((is_begun | ~goes_on) & has_several)[kept],
            following=following[row[kept]],
        )


def passages(examples: WindowedExamples) -> Windows:
    """Cut windows into passages, each within its window and under its number.

    A passage is a paragraph or several short ones, or a part of one with more than ``WHOLE_TOKENS``: parts have
    ``PASSAGE_TOKENS``, are spread evenly and share ``PASSAGE_STRIDE`` or more with the next one. Paragraphs are cut
    where their windows end, and what two windows share is left to that which holds more of the paragraph's beginning.
    Where no window of an example is longer than a passage, all stay whole. Of a span that lies in one paragraph, and
    is no longer than those shared tokens or those that windows share, all stands in one passage.

    :param examples: with all windows of each example, or none
    :returns: passages, both their beginnings and their ends ascending within an example
    """
    windows, pieces = examples.windows, _Pieces.of(examples)
    length = pieces.last - pieces.first
    is_whole = length <= np.where(pieces.has_edge, WHOLE_TOKENS, PASSAGE_TOKENS)
    # Others are cut up to their end, or up to where the next window begins with the rest.
    way = np.where(pieces.goes_on, pieces.following - pieces.first, length - PASSAGE_TOKENS)
    steps = np.where(is_whole, 0, -(-way // (PASSAGE_TOKENS - PASSAGE_STRIDE)))
    count = np.where(is_whole, 1, steps + ~pieces.goes_on)
    piece = np.repeat(np.arange(len(length)), count)
    part = ranges(np.zeros(len(length), dtype=np.int64), count)
    begin = pieces.first[piece] + part * way[piece] // np.maximum(steps[piece], 1)
    longest = np.where(is_whole, length, PASSAGE_TOKENS)
    finish = np.minimum(begin + longest[piece], pieces.last[piece])
    # Windows that share nearly all may have parts within those of the one before.
    row = pieces.row[piece]
    sample = windows.overflow_to_sample_mapping[row]
    reach = sample * (int(finish.max(initial=0)) + 1) + finish
    more = np.append(True, reach[1:] > np.maximum.accumulate(reach)[:-1])[: len(reach)]
    return Windows(
        overflow_to_sample_mapping=sample[more],
        window=windows.window[row[more]],
        context_start=begin[more],
        context_end=finish[more],
        n_windows=np.bincount(sample[more], minlength=len(windows.n_windows)),
        n_cut=windows.n_cut,
    )


def _paragraphs(contexts: TokenizedTexts, wanted: NDArray[np.int64], base: int) -> NDArray[np.int64]:
    """Return where the paragraphs of contexts begin, but for the first, short ones taken together.

    :param wanted: the contexts, ascending
    :returns: ``(p,)`` ascending: token within the context, plus ``base`` times the number of the context
    """
    found: list[int] = []
    if contexts.offset_mapping is None:
        raise ValueError("offsets are needed of contexts")
    for number in wanted.tolist():
        ends = paragraph_ends(contexts.texts[number])
        if not ends:
            continue
        # A token may begin with the white space in front of its word, and some tokenizers yield them out of order.
        token_ends = contexts.offset_mapping[contexts.offsets[number] : contexts.offsets[number + 1], 1]
        ends_so_far = np.maximum.accumulate(token_ends)
        begins = np.unique(np.searchsorted(ends_so_far, ends, side="right")).tolist()
        found += (number * base + begin for begin in _together(begins, len(token_ends)))
    return np.array(found, dtype=np.int64)


def _together(begins: list[int], end: int) -> list[int]:
    """Return which paragraphs begin a passage or more of their own, but for the first.

    :param begins: where paragraphs begin, the first perhaps left out: ascending
    :param end: where the last one ends
    """
    parted: list[int] = []
    for begin in begins:
        if 0 < begin < end and begin - (parted[-1] if parted else 0) >= HEADING_TOKENS:
            parted.append(begin)
    found: list[int] = []
    begun = 0
    for begin, finish in pairwise([*parted, end]):
        if finish - begun > TOGETHER_TOKENS:
            found.append(begin)
            begun = begin
    return found
