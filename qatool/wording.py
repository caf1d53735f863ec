"""Counts, speeds and times as text, the same for all commands."""

from __future__ import annotations

_BRIEF = {"example": "ex", "window": "win", "document": "docs"}


def counted(number: int, noun: str) -> str:
    """Return a count with its noun: ``1 example``, ``2,000 examples``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def speed(examples: int, windows: int, seconds: float, *, brief: bool = False, noun: str = "example") -> str:
    """Return the rates: ``41.2 examples/s, 45.0 windows/s``; if brief, ``41.2 ex/s 45.0 win/s``.

    :param noun: what is counted; windows are included only for examples
    """
    seconds = max(seconds, 1e-9)
    rates = [(examples / seconds, noun)]
    if noun == "example":
        rates.append((windows / seconds, "window"))
    if brief:
        return " ".join(f"{rate:,.1f} {_BRIEF.get(each, each)}/s" for rate, each in rates)
    return ", ".join(f"{rate:,.1f} {each}s/s" for rate, each in rates)


def duration(seconds: float) -> str:
    """Return a time span as text: ``4.9 s``, ``3 min 40 s``, ``2 h 05 min``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
