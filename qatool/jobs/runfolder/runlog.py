"""The log of a run folder: a growing file or, in a store, where no object can grow, an object per stretch of time."""

from __future__ import annotations

import json
import logging
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from qatool.files.storage.locations import contents
from qatool.files.storage.objects import ObjectPath
from qatool.logs import quiet_file_handler

if TYPE_CHECKING:
    from collections.abc import Callable

    from qatool.files.storage.locations import Location

TAIL_BYTES = 256 << 10
"""How much of the end of the log is read, enough for about a thousand shards."""
STRETCH_S = 30.0
"""How long lines are collected before they are put into a store."""


def log_handler(log: Location, *, is_over: Callable[[], bool]) -> logging.Handler | None:
    """Return a handler that appends lines to the log of a run, ``None`` where the log cannot be written.

    :param is_over: returns whether the run folder, and the log with it, has been removed
    """
    if isinstance(log, ObjectPath):
        return _ObjectHandler(log, is_over)
    try:
        return quiet_file_handler(log)
    except OSError:
        return None


def last_events(log: Location) -> list[dict[str, Any]]:
    """Return the events at the end of a log; incomplete lines are skipped."""
    try:
        lines = (_tail_of_stretches(log) if isinstance(log, ObjectPath) else _tail_of_file(log)).splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            found.append(event)
    return found


def _tail_of_file(log: Location) -> bytes:
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - TAIL_BYTES))
        return stream.read()


def _tail_of_stretches(log: ObjectPath) -> bytes:
    """Return the lines of the last stretches, about as many bytes as are read of a file."""
    chosen: list[ObjectPath] = []
    size = 0
    for stretch, told in reversed(list(_folder_of(log).walk())):
        chosen.append(stretch)
        size += told.st_size
        if size > TAIL_BYTES:
            break
    return b"".join(part or b"" for part in contents(chosen[::-1]))


def _folder_of(log: ObjectPath) -> ObjectPath:
    return log.with_suffix("")


class _ObjectHandler(logging.Handler):
    """Puts the lines of each half minute into a store; lines that cannot be put are lost."""

    def __init__(self, log: ObjectPath, is_over: Callable[[], bool]) -> None:
        super().__init__()
        self._folder = _folder_of(log)
        self._is_over = is_over
        self._start = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        self._stretch = 0
        self._lines: list[str] = []
        self._begun = time.monotonic()
        self._guard = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        with self._guard:
            self._lines.append(self.format(record))
            due = time.monotonic() - self._begun > STRETCH_S or not self._stretch
        if due:
            self.flush()

    def flush(self) -> None:
        with self._guard:
            lines, self._lines = self._lines, []
            self._begun = time.monotonic()
            stretch, self._stretch = self._stretch, self._stretch + bool(lines)
        if lines and not self._is_over():
            data = "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")
            with suppress(OSError):
                (self._folder / f"{self._start}-{stretch:06d}.jsonl").write_bytes(data)

    def close(self) -> None:
        self.flush()
        super().close()
