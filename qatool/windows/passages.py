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
from qatool.windows.ragged import positions

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
    is_whole = length <= np.where(pieces.may_be_long, WHOLE_TOKENS, PASSAGE_TOKENS)
    # From the first part of others to the last; or to what the next window begins with, where that holds the rest.
    distance = np.where(pieces.goes_on, pieces.following - pieces.first, length - PASSAGE_TOKENS)
    steps = np.where(is_whole, 0, -(-distance // (PASSAGE_TOKENS - PASSAGE_STRIDE)))
    count = np.where(is_whole, 1, steps + ~pieces.goes_on)
    piece = np.repeat(np.arange(len(length)), count)
    part = positions(count)
    begin = pieces.first[piece] + part * distance[piece] // np.maximum(steps[piece], 1)
    longest = np.where(is_whole, length, PASSAGE_TOKENS)
    finish = np.minimum(begin + longest[piece], pieces.last[piece])
    # Windows that share nearly all may have parts within those of the one before.
    row = pieces.row[piece]
    sample = windows.overflow_to_sample_mapping[row]
    reach = sample * (int(finish.max(initial=0)) + 1) + finish
    kept = np.diff(np.maximum.accumulate(reach), prepend=-1) > 0
    return Windows(
        overflow_to_sample_mapping=sample[kept],
        window=windows.window[row[kept]],
        context_start=begin[kept],
        context_end=finish[kept],
        n_windows=np.bincount(sample[kept], minlength=len(windows.n_windows)),
        n_cut=windows.n_cut,
    )


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
    may_be_long: NDArray[np.bool_]
    """``(p,)``: whether the paragraph begins or ends here, in a text of several."""
    following: NDArray[np.int64]
    """``(p,)``: first token of the next window."""

    @classmethod
    def of(cls, examples: WindowedExamples) -> _Pieces:
        """Find the paragraphs of windows; where none of an example is longer than a passage, each is one piece."""
        windows = examples.windows
        sample, start, end = windows.overflow_to_sample_mapping, windows.context_start, windows.context_end
        is_first, is_last = np.diff(sample, prepend=-1) != 0, np.diff(sample, append=-1) != 0
        following = np.where(is_last, end, np.roll(start, -1))
        end_before = np.where(is_first, 0, np.roll(end, 1))
        longest = np.zeros(len(windows.n_windows), dtype=np.int64)
        np.maximum.at(longest, sample, windows.context_length)
        is_cut = (longest > PASSAGE_TOKENS)[sample]
        # Windows that stay whole look behind all contexts, where no paragraph begins.
        context = np.where(is_cut, examples.context_index[sample], len(examples.contexts.texts))
        paragraphs = _Paragraphs(examples.contexts, np.unique(context[is_cut]))
        # Each window has a piece from its start, and one from each paragraph that begins before the next window does.
        behind_start = paragraphs.up_to(context, start)
        count = 1 + paragraphs.before(context, np.minimum(following, end)) - behind_start
        row = np.repeat(np.arange(len(windows)), count)
        place = positions(count)
        is_at_start = place == 0
        paragraph_behind = behind_start[row] + place
        ends_within = paragraph_behind < paragraphs.before(context, end)[row]
        first = np.where(is_at_start, start[row], paragraphs.begin(paragraph_behind - 1))
        last = np.where(ends_within, paragraphs.begin(paragraph_behind), end[row])
        begins_with_window = (start == 0) | (behind_start > paragraphs.before(context, start))
        ends_with_window = is_last | (paragraphs.up_to(context, end) > paragraphs.before(context, end))
        begins_here = ~is_at_start | begins_with_window[row]
        goes_on = ~ends_within & ~ends_with_window[row]
        # The end of a paragraph that began earlier is left to the window before, where that holds all of it.
        kept = begins_here | (last > end_before[row])
        return cls(
            row=row[kept],
            first=first[kept],
            last=last[kept],
            goes_on=goes_on[kept],
            may_be_long=((begins_here | ~goes_on) & paragraphs.has_several(context)[row])[kept],
            following=following[row[kept]],
        )


class _Paragraphs:
    """Where the paragraphs of contexts begin, but for the first of each; short ones are taken together.

    All stand in one ascending array, those of a context behind those of the one before; they go by their place in it.

    :param wanted: the contexts that are looked at, ascending; others have one paragraph
    """

    def __init__(self, contexts: TokenizedTexts, wanted: NDArray[np.int64]) -> None:
        self._span = int(contexts.lengths.max(initial=0)) + 1
        self._begins = np.array(
            [number * self._span + token for number in wanted.tolist() for token in _begins(contexts, number)],
            dtype=np.int64,
        )

    def before(self, context: NDArray[np.int64], token: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many begin in front of tokens, in contexts before included."""
        return np.searchsorted(self._begins, context * self._span + token)

    def up_to(self, context: NDArray[np.int64], token: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many begin in front of tokens or with them, in contexts before included."""
        return np.searchsorted(self._begins, context * self._span + token, side="right")

    def has_several(self, context: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which contexts have more than one."""
        return np.isin(context, self._begins // self._span)

    def begin(self, number: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the tokens, within their contexts, that paragraphs begin with; 0 where there is no such one."""
        return np.append(self._begins, 0)[number] % self._span


def _begins(contexts: TokenizedTexts, number: int) -> list[int]:
    """Return with which tokens the paragraphs of a context begin, but for the first; short ones taken together."""
    if contexts.offset_mapping is None:
        raise ValueError("offsets are needed of contexts")
    ends = paragraph_ends(contexts.texts[number])
    if not ends:
        return []
    # A token may begin with the white space in front of its word, and some tokenizers yield them out of order.
    token_ends = contexts.offset_mapping[contexts.offsets[number] : contexts.offsets[number + 1], 1]
    begins = np.unique(np.searchsorted(np.maximum.accumulate(token_ends), ends, side="right"))
    return _together(begins.tolist(), len(token_ends))


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
