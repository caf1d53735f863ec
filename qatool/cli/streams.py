"""Standard streams that serve whatever they are: closed, full, or of an encoding that lacks a character."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO


class _Telling(io.TextIOWrapper):
    """Standard error: what is told there is for people, and that it cannot be must not end the work."""

    def write(self, text: str, /) -> int:
        """Write, or lose, a text."""
        with suppress(OSError, ValueError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        """Write, or lose, what is held."""
        with suppress(OSError, ValueError):
            super().flush()


def prepare_streams() -> None:
    """Make the process's standard streams fit to be written to; once, before anything is.

    What was closed leads nowhere, so that no file that is opened takes its number: standard error loses what comes,
    standard output refuses it. Characters that a stream's encoding lacks are spelled out.
    """
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # the lowest number that is free
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 (for as long as the process lives)
    elif isinstance(sys.stdout, io.TextIOWrapper) and _is_number(sys.stdout, 1):
        sys.stdout.reconfigure(errors="backslashreplace")
    if sys.stderr is None or _is_number(sys.stderr, 2):
        encoding = "utf-8" if sys.stderr is None else sys.stderr.encoding
        stream = open(2, "wb", closefd=False)  # noqa: SIM115 (for as long as the process lives)
        sys.stderr = _Telling(stream, encoding=encoding, errors="backslashreplace", line_buffering=True)


def _is_number(stream: TextIO, number: int) -> bool:
    """Whether a stream is the process's own, not one that a program or a test has put in its place."""
    try:
        return stream.fileno() == number
    except (OSError, ValueError):
        return False
