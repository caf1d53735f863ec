"""The terminal that rich prints on."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

_NARROWEST = 8
"""Columns; with fewer, nothing is left between the margins."""
_USUAL_WIDTH = 80


def console_on(stream: TextIO) -> Console:
    """Return what prints on a terminal, also where ``COLUMNS`` leaves no room for anything."""
    from rich.console import Console

    console = Console(file=stream, highlight=False)
    if console.width < _NARROWEST:
        console.width = _USUAL_WIDTH
    return console
