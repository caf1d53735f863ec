"""Standard input, copied into a file so that it can be read more than once."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

from qatool.errors import InputError
from qatool.files.sources.source import STDIN_NAME, Source
from qatool.files.sources.streams import open_bytes
from qatool.files.storage.atomic import replacing
from qatool.logs import log_event

if TYPE_CHECKING:
    from pathlib import Path

    from qatool.files.storage.locations import Location

STDIN = "-"
"""The input argument that means standard input."""
SPOOL_NAME = "stdin.jsonl"


def spool_stdin(folder: Location) -> Source:
    """Copy standard input to ``stdin.jsonl`` in an existing folder, and return the copy as a JSONL source.

    If standard input gives nothing (it is closed, empty or a terminal), the copy of an earlier run is used again;
    such a copy is always complete.

    :raises InputError: standard input is closed, and there is no earlier copy
    :raises OutputError: the copy cannot be written
    """
    source = _spool_in(folder)
    path = source.path
    closed = sys.stdin is None or sys.stdin.closed
    if path.exists():
        first = b"" if closed or sys.stdin.isatty() else sys.stdin.buffer.read(1 << 20)
        if not first:
            log_event("nothing on standard input: going on with what an earlier start read from it")
            return source
    elif closed:
        raise InputError("standard input: is closed; pipe JSONL into it or name a file instead of -")
    else:
        first = b""
    with replacing(path) as stream:
        stream.write(first)
        shutil.copyfileobj(sys.stdin.buffer, stream, 1 << 20)
    return source


def copy_spool(run: Location, folder: Path) -> None:
    """Copy a run's copy of standard input, if it has one, into another folder; the run keeps its own.

    :param run: run folder
    :param folder: folder that gets the second copy
    :raises InputError: the run's copy cannot be read
    :raises OutputError: the second copy cannot be written
    """
    spool = _spool_in(run)
    if spool.path.exists():
        with open_bytes(spool) as stream, replacing(folder / SPOOL_NAME) as copy:
            shutil.copyfileobj(stream, copy, 1 << 20)


def _spool_in(folder: Location) -> Source:
    return Source(path=folder / SPOOL_NAME, name=STDIN_NAME, format="jsonl")
