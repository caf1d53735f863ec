"""Cut the windows of long documents into passages along paragraphs, which a model trained on paragraphs reads best.

A heading is no passage of its own, however well it fits the question: it belongs to the text after it. Short
paragraphs are joined, long ones are cut evenly.
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
"""Fewest context tokens that such a passage shares with the next one."""
WHOLE_TOKENS = 320
"""Most context tokens of a paragraph, or of its beginning or end in a window, that becomes a passage uncut."""
TOGETHER_TOKENS = 128
"""Most context tokens of paragraphs that are joined to one passage."""
HEADING_TOKENS = 32
"""A paragraph with fewer context tokens may be a heading, and is never separated from the next paragraph."""


def passages(examples: WindowedExamples) -> Windows:
    """Cut windows into passages, each within one window and with that window's number.

    A passage is a paragraph, several short ones, or a part of one with more than ``WHOLE_TOKENS``; parts have
    ``PASSAGE_TOKENS``, are spread evenly, and share at least ``PASSAGE_STRIDE`` tokens with the next one. Paragraphs
    are cut where windows end, and tokens that two windows share go to the window with more of the paragraph's
    beginning. If no window of an example is longer than a passage, its windows stay uncut. A span within one
    paragraph that is no longer than these overlaps, and those of the windows, is whole in at least one passage.

    :param examples: examples, each with either all its windows or none
    :returns: passages; both their starts and their ends ascend within an example
    """
    windows, pieces = examples.windows, _Pieces.of(examples)
    length = pieces.last - pieces.first
    is_whole = length <= np.where(pieces.may_be_long, WHOLE_TOKENS, PASSAGE_TOKENS)
    # Tokens between the starts of the first and last part, or to the next window if the paragraph goes on there.
    distance = np.where(pieces.goes_on, pieces.following - pieces.first, length - PASSAGE_TOKENS)
    steps = np.where(is_whole, 0, -(-distance // (PASSAGE_TOKENS - PASSAGE_STRIDE)))
    count = np.where(is_whole, 1, steps + ~pieces.goes_on)
    piece = np.repeat(np.arange(len(length)), count)
    part = positions(count)
    begin = pieces.first[piece] + part * distance[piece] // np.maximum(steps[piece], 1)
    longest = np.where(is_whole, length, PASSAGE_TOKENS)
    finish = np.minimum(begin + longest[piece], pieces.last[piece])
    # If windows overlap almost entirely, a part may lie within parts of the window before.
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
    """The ``p`` pieces into which windows cut paragraphs, in order, without those that the window before contains."""

    row: NDArray[np.int64]
    """``(p,)``: index of the piece's window."""
    first: NDArray[np.int64]
    """``(p,)``: index of its first token within the context."""
    last: NDArray[np.int64]
    """``(p,)``: index one past its last token."""
    goes_on: NDArray[np.bool_]
    """``(p,)``: whether its paragraph continues in the next window."""
    may_be_long: NDArray[np.bool_]
    """``(p,)``: whether its paragraph begins or ends in it, in a text of several paragraphs."""
    following: NDArray[np.int64]
    """``(p,)``: index of the first token of the next window."""

    @classmethod
    def of(cls, examples: WindowedExamples) -> _Pieces:
        """Cut windows at paragraphs; if no window of an example is longer than a passage, each is one piece."""
        windows = examples.windows
        sample, start, end = windows.overflow_to_sample_mapping, windows.context_start, windows.context_end
        is_first, is_last = np.diff(sample, prepend=-1) != 0, np.diff(sample, append=-1) != 0
        following = np.where(is_last, end, np.roll(start, -1))
        end_before = np.where(is_first, 0, np.roll(end, 1))
        longest = np.zeros(len(windows.n_windows), dtype=np.int64)
        np.maximum.at(longest, sample, windows.context_length)
        is_cut = (longest > PASSAGE_TOKENS)[sample]
        # Windows that stay uncut get a context number behind all others, for which no paragraph starts are known.
        context = np.where(is_cut, examples.context_index[sample], len(examples.contexts.texts))
        paragraphs = _Paragraphs(examples.contexts, np.unique(context[is_cut]))
        # A window has a piece at its start, and one for each paragraph that begins before the next window does.
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
        # The end of a paragraph that began earlier is omitted if the window before contains all of it.
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
    """Start tokens of the paragraphs of contexts, except the first of each context; short paragraphs are joined.

    The starts of all contexts are in one ascending array, and paragraphs are numbered by their index in it.

    :param wanted: contexts to cut into paragraphs, ascending; all others count as one paragraph
    """

    def __init__(self, contexts: TokenizedTexts, wanted: NDArray[np.int64]) -> None:
        self._span = int(contexts.lengths.max(initial=0)) + 1
        self._begins = np.array(
            [number * self._span + token for number in wanted.tolist() for token in _begins(contexts, number)],
            dtype=np.int64,
        )

    def before(self, context: NDArray[np.int64], token: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many paragraphs begin before each token, counting those of earlier contexts."""
        return np.searchsorted(self._begins, context * self._span + token)

    def up_to(self, context: NDArray[np.int64], token: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many paragraphs begin before or at each token, counting those of earlier contexts."""
        return np.searchsorted(self._begins, context * self._span + token, side="right")

    def has_several(self, context: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which contexts have more than one paragraph."""
        return np.isin(context, self._begins // self._span)

    def begin(self, number: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the start tokens of paragraphs within their contexts; 0 for the number after the last one."""
        return np.append(self._begins, 0)[number] % self._span


def _begins(contexts: TokenizedTexts, number: int) -> list[int]:
    """Return the start tokens of the paragraphs of a context, except the first; short paragraphs are joined.

    :raises ValueError: the contexts were tokenised without offsets
    """
    if contexts.offset_mapping is None:
        raise ValueError("offsets are needed of contexts")
    ends = paragraph_ends(contexts.texts[number])
    if not ends:
        return []
    # By the ends of tokens, as a token may begin with white space before its word; some are out of order.
    token_ends = contexts.offset_mapping[contexts.offsets[number] : contexts.offsets[number + 1], 1]
    begins = np.unique(np.searchsorted(np.maximum.accumulate(token_ends), ends, side="right"))
    return _together(begins.tolist(), len(token_ends))


def _together(begins: list[int], end: int) -> list[int]:
    """Return the starts of paragraphs after joining short ones, except the first start.

    :param begins: starts of the paragraphs, ascending; may lack the first
    :param end: end of the last paragraph
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
