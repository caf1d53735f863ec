"""Cut a context into pieces of text, marked where candidates are, for display."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONGEST_WORD = 20


class Piece(NamedTuple):
    """A part of a context."""

    text: str
    rank: int | None = None
    """0-based rank of the best candidate that contains the piece; ``None`` if none does."""
    is_gap: bool = False
    """Whether the piece stands for omitted context."""


def pieces(context: str, spans: Sequence[tuple[int, int]], *, around: int) -> list[Piece]:
    """Cut a context into pieces, and omit text far from all candidates.

    :param spans: half-open ranges of the candidates, best first; where they overlap, the better one is marked
    :param around: characters kept on either side of each candidate; without spans, the first ``2 * around`` are kept
    """
    ranges = _ranges(context, spans, around)
    found: list[Piece] = []
    last = 0
    for first, end in ranges:
        if first > last:
            found.append(Piece("…", is_gap=True))
        cuts = sorted({first, end, *(cut for span in spans for cut in span if first < cut < end)})
        for left, right in itertools.pairwise(cuts):
            rank = next((rank for rank, (start, stop) in enumerate(spans) if start <= left and right <= stop), None)
            if found and found[-1].rank == rank and not found[-1].is_gap:
                found[-1] = Piece(found[-1].text + context[left:right], rank)
            else:
                found.append(Piece(context[left:right], rank))
        last = end
    if last < len(context):
        found.append(Piece("…", is_gap=True))
    return found


def _ranges(context: str, spans: Sequence[tuple[int, int]], around: int) -> list[tuple[int, int]]:
    """Return the ranges to show, in order and with gaps in between."""
    wanted = sorted((_back(context, start - around), _forth(context, end + around)) for start, end in spans)
    ranges: list[tuple[int, int]] = []
    for first, end in wanted or [(0, _forth(context, 2 * around))]:
        if ranges and first <= ranges[-1][1] + 1:
            ranges[-1] = ranges[-1][0], max(ranges[-1][1], end)
        else:
            ranges.append((first, end))
    return ranges


def _back(context: str, place: int) -> int:
    """Return the start of the word at ``place``, or ``place`` if the start is far."""
    if place <= 0:
        return 0
    for at in range(place, max(0, place - _LONGEST_WORD), -1):
        if context[at - 1].isspace():
            return at
    return place


def _forth(context: str, place: int) -> int:
    """Return the end of the word at ``place``, or ``place`` if the end is far."""
    if place >= len(context):
        return len(context)
    for at in range(place, min(len(context), place + _LONGEST_WORD)):
        if context[at].isspace():
            return at
    return place
