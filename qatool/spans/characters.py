"""The characters that tokens stand for, without surrounding white space, and one token for each set of characters."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qatool.spans.search import TokenCharacters
from qatool.windows.ragged import offsets_of

if TYPE_CHECKING:
    from qatool.windows.assemble import WindowedExamples
    from qatool.windows.tokenizer import TokenizedTexts

RULES = 1
"""Version of the rules for where answers start and end; a run begun under other rules is other work."""
_LAST_SPACE = 0x3000
_SPACES = np.array([chr(code).isspace() for code in range(_LAST_SPACE + 2)])
_FIRST_MARK, _LAST_MARK = 0x300, 0xE01EF
_SKIN_TONES = range(0x1F3FB, 0x1F400)


@dataclass(frozen=True, kw_only=True)
class ContextCharacters:
    """For each of the ``t`` tokens of all contexts, the characters that it may add to an answer.

    An answer never starts or ends with white space, even where tokens cover some (SentencePiece), so the ranges
    are trimmed. Nor does it start or end between a letter and its combining marks, which many tokenizers drop: the
    ranges are widened to hold both. Tokens may share characters (the bytes of an emoji, the expansion of a ligature):
    only the first of them may start a span and only the last may end one, for the whole group.
    """

    start: NDArray[np.int64]
    """``(t,)``: first character, in code points of the context."""
    end: NDArray[np.int64]
    """``(t,)``: one past the last character; equal to ``start`` where a token stands for no character."""
    start_token: NDArray[np.int64]
    """``(t,)``: the token that starts spans in place of each token; ``-1`` where that stands for no character."""
    end_token: NDArray[np.int64]
    """``(t,)``: the token that ends spans in place of each token; ``-1`` as above."""
    plain: bool
    """Whether every token starts and ends spans itself."""

    @classmethod
    def of(cls, tokens: TokenizedTexts) -> ContextCharacters:
        """Find the characters of every token of the contexts in ``tokens``.

        :raises ValueError: the contexts were tokenised without offsets
        """
        if tokens.offset_mapping is None:
            raise ValueError("contexts must be tokenised with offsets")
        lengths = np.fromiter(map(len, tokens.texts), np.int64, len(tokens.texts))
        borders = offsets_of(lengths)
        base = np.repeat(borders[:-1], tokens.lengths)
        codes = np.frombuffer("".join(tokens.texts).encode("utf-32-le"), dtype=np.uint32)
        start, end = _trimmed(codes, *(tokens.offset_mapping.astype(np.int64) + base[:, None]).T)
        start, end = _with_marks(codes, borders, start, end)
        own = np.arange(len(start))
        # A token without characters has a position, too, but must not stand for the token beside it.
        filled = np.flatnonzero(start < end)
        start_token, end_token = np.full_like(own, -1), np.full_like(own, -1)
        start_token[filled] = filled[_first_alike(start[filled])]
        end_token[filled] = filled[::-1][_first_alike(end[filled][::-1])][::-1]
        return cls(
            start=start - base,
            end=end - base,
            start_token=start_token,
            end_token=end_token,
            plain=bool((start_token == own).all() and (end_token == own).all()),
        )

    def of_windows(self, examples: WindowedExamples, chosen: NDArray[np.int64]) -> TokenCharacters | None:
        """Return the token groups of the ``chosen`` windows, ``None`` when every token stands for itself."""
        if self.plain:
            return None
        length = examples.windows.context_length[chosen]
        first = examples.context_token(chosen, np.zeros_like(chosen))[:, None]
        position = np.arange(int(length.max(initial=0)))
        flat = np.minimum(first + position, len(self.start) - 1)
        last = length[:, None] - 1

        def within(token: NDArray[np.int64]) -> NDArray[np.int64]:
            nothing = (token[flat] < 0) | (position > last)
            return np.where(nothing, -1, np.clip(token[flat] - first, 0, last))

        return TokenCharacters(start_token=within(self.start_token), end_token=within(self.end_token))


def _trimmed(
    codes: NDArray[np.uint32], start: NDArray[np.int64], end: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the ranges ``[start, end)`` of code points, shrunk to begin and end without white space."""
    space = _SPACES[np.minimum(codes, _LAST_SPACE + 1)]
    here = np.arange(len(codes))
    following = np.minimum.accumulate(np.where(space, len(codes), here)[::-1])[::-1]
    preceding = np.maximum.accumulate(np.where(space, -1, here))
    filled = start < end
    first, last = start.copy(), end.copy()
    first[filled] = np.minimum(following[start[filled]], end[filled])
    last[filled] = np.maximum(preceding[end[filled] - 1] + 1, first[filled])
    return first, last


def _with_marks(
    codes: NDArray[np.uint32], borders: NDArray[np.int64], start: NDArray[np.int64], end: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the ranges ``[start, end)``, widened to begin with no mark of what precedes and to end after their own.

    :param borders: ``(contexts + 1,)``: where contexts begin and end in ``codes``, which marks never join
    """
    possible = np.flatnonzero((codes >= _FIRST_MARK) & (codes <= _LAST_MARK))
    marks = possible[_marks()[codes[possible]]] if len(possible) else possible
    if not len(marks):
        return start, end
    is_mark = np.zeros(len(codes), dtype=bool)
    # A mark at the beginning or behind white space has no letter, and stands for itself.
    is_mark[marks] = (marks > 0) & ~_SPACES[np.minimum(codes[marks - 1], _LAST_SPACE + 1)]
    is_mark[borders[:-1][np.diff(borders) > 0]] = False
    here = np.arange(len(codes))
    letter = np.maximum.accumulate(np.where(is_mark, -1, here))
    following = np.minimum.accumulate(np.where(is_mark, len(codes), here)[::-1])[::-1]
    filled = start < end
    first, last = start.copy(), end.copy()
    first[filled] = letter[start[filled]]
    last[filled] = np.append(following, len(codes))[end[filled]]
    return first, last


@cache
def _marks() -> NDArray[np.bool_]:
    """Return for each code point up to the last mark whether it belongs to the one before it."""
    marks = np.zeros(_LAST_MARK + 1, dtype=bool)
    # There are none between these two blocks, which are most of the code points.
    for code in (*range(_FIRST_MARK, 0x20000), *range(0xE0100, _LAST_MARK + 1)):
        marks[code] = unicodedata.category(chr(code))[0] == "M"
    marks[_SKIN_TONES.start : _SKIN_TONES.stop] = True
    return marks


def _first_alike(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ``(t,)``: for each position the first position of the run of equal values that it is in."""
    starts_run = np.ones(len(values), dtype=bool)
    starts_run[1:] = values[1:] != values[:-1]
    return np.maximum.accumulate(np.where(starts_run, np.arange(len(values)), 0))
