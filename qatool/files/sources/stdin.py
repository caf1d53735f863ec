"""Standard input, copied into a file: what is read once and may be read again."""

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
"""What stands for standard input among inputs."""
SPOOL_NAME = "stdin.jsonl"


def spool_stdin(folder: Location) -> Source:
    """Copy standard input to ``stdin.jsonl`` in the folder, which must exist, and return it as a JSONL file.

    An earlier copy, which is always whole, serves again when nothing comes: standard input is closed, a terminal
    or empty.

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
    """Copy what a run has read from standard input, if anything: it is read again, and the run's own stays.

    :raises InputError: it cannot be read
    :raises OutputError: the copy cannot be written
    """
    spool = _spool_in(run)
    if spool.path.exists():
        with open_bytes(spool) as stream, replacing(folder / SPOOL_NAME) as copy:
            shutil.copyfileobj(stream, copy, 1 << 20)


def _spool_in(folder: Location) -> Source:
    return Source(path=folder / SPOOL_NAME, name=STDIN_NAME, format="jsonl")
