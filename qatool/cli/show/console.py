"""The console on which rich prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

_NARROWEST = 8
"""Fewest columns of a terminal; with fewer, there would be no room between the margins."""
_USUAL_WIDTH = 80


def console_on(stream: TextIO) -> Console:
    """Return a console for a terminal; one that is too narrow, by ``COLUMNS``, gets the usual width."""
    from rich.console import Console

    console = Console(file=stream, highlight=False)
    if console.width < _NARROWEST:
        console.width = _USUAL_WIDTH
    return console
