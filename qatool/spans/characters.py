"""The characters that tokens stand for, without surrounding white space, and one token for each set of characters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qatool.spans.search import TokenCharacters
from qatool.windows.ragged import offsets_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qatool.windows.assemble import WindowedExamples
    from qatool.windows.tokenizer import TokenizedTexts

_LAST_SPACE = 0x3000
_SPACES = np.array([chr(code).isspace() for code in range(_LAST_SPACE + 2)])


@dataclass(frozen=True, kw_only=True)
class ContextCharacters:
    """For each of the ``t`` tokens of all contexts, the characters that it may add to an answer.

    An answer never starts or ends with white space, even where tokens cover some (SentencePiece), so the ranges
    are trimmed. Tokens may share characters (the bytes of an emoji, the expansion of a ligature): only the first
    of them may start a span and only the last may end one, for the whole group.
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
        base = np.repeat(offsets_of(lengths)[:-1], tokens.lengths)
        start, end = _trimmed(tokens.texts, *(tokens.offset_mapping.astype(np.int64) + base[:, None]).T)
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
    contexts: Sequence[str], start: NDArray[np.int64], end: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the ranges ``[start, end)`` of the joined contexts, shrunk to begin and end without white space."""
    codes = np.frombuffer("".join(contexts).encode("utf-32-le"), dtype=np.uint32)
    space = _SPACES[np.minimum(codes, _LAST_SPACE + 1)]
    here = np.arange(len(codes))
    following = np.minimum.accumulate(np.where(space, len(codes), here)[::-1])[::-1]
    preceding = np.maximum.accumulate(np.where(space, -1, here))
    filled = start < end
    first, last = start.copy(), end.copy()
    first[filled] = np.minimum(following[start[filled]], end[filled])
    last[filled] = np.maximum(preceding[end[filled] - 1] + 1, first[filled])
    return first, last


def _first_alike(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ``(t,)``: for each position the first position of the run of equal values that it is in."""
    starts_run = np.ones(len(values), dtype=bool)
    starts_run[1:] = values[1:] != values[:-1]
    return np.maximum.accumulate(np.where(starts_run, np.arange(len(values)), 0))
