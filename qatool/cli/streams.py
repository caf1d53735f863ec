"""Make the standard streams usable even if they are closed, full, or have an encoding that lacks characters."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO


class _Telling(io.TextIOWrapper):
    """Standard error: only messages for people go there, so a failure to write them must not end the work."""

    def write(self, text: str, /) -> int:
        """Write a text, or lose it if that fails."""
        with suppress(OSError, ValueError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        """Write buffered text, or lose it if that fails."""
        with suppress(OSError, ValueError):
            super().flush()


def prepare_streams() -> None:
    """Prepare the process's standard streams; to be called once, before anything is written.

    A closed stream is connected to the null device, so that no file opened later gets its number: standard error then
    loses its text, standard output refuses it. Characters that a stream's encoding lacks are spelled out.
    """
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # gets the lowest free number, which is this one
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 (for as long as the process lives)
    elif isinstance(sys.stdout, io.TextIOWrapper) and _is_number(sys.stdout, 1):
        sys.stdout.reconfigure(errors="backslashreplace")
    if sys.stderr is None or _is_number(sys.stderr, 2):
        encoding = "utf-8" if sys.stderr is None else sys.stderr.encoding
        stream = open(2, "wb", closefd=False)  # noqa: SIM115 (for as long as the process lives)
        sys.stderr = _Telling(stream, encoding=encoding, errors="backslashreplace", line_buffering=True)


def _is_number(stream: TextIO, number: int) -> bool:
    """Return whether a stream is the process's own, not one that a program or a test has replaced it with."""
    try:
        return stream.fileno() == number
    except (OSError, ValueError):
        return False
