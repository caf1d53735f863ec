"""Parser events of a JSON file; failures are reported with their line."""

from __future__ import annotations

from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import ijson

from qatool.errors import InputError
from qatool.files.formats.jsonguard import STRAY, GuardedStream, unmark
from qatool.files.sources.rows import quoted
from qatool.files.sources.streams import open_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from qatool.files.sources.source import Source

CHUNK_BYTES = 1 << 16
MAX_DEPTH = 100


class Event(NamedTuple):
    """One event of the parser: the start or end of a map or array, a key, or a scalar."""

    kind: str
    value: Any


@contextmanager
def open_events(source: Source) -> Iterator[Events]:
    """Open a cursor over the parser events of a JSON file.

    :raises InputError: the file cannot be read or is not JSON; also raised for failures inside the block
    """
    with open_bytes(source) as stream:
        guard = GuardedStream(stream)
        events = Events(source, guard)
        # ijson's Python backend raises its own error, its C backend also ValueError and UnicodeDecodeError.
        try:
            yield events
        except (ijson.JSONError, ValueError) as error:
            failure = error
        else:
            return
    raise InputError(f"{source.path}{_place(source, guard.given)}: {_explain(failure)}, {events.progress}")


class Events:
    """A cursor over the parser events of one file.

    :ivar rows: how many rows were read so far; set by the reader of the format, for messages
    """

    def __init__(self, source: Source, guard: GuardedStream) -> None:
        self.rows = 0
        self._path = source.path
        self._guard = guard
        # Not use_float: with that, the parser fails on integers above 64 bits.
        self._parser: Iterator[tuple[str, Any]] = iter(ijson.basic_parse(guard, buf_size=CHUNK_BYTES))

    @property
    def progress(self) -> str:
        """The place in the file in terms of rows, for messages: ``after row 41``."""
        return f"after row {self.rows - 1}" if self.rows else "before the first row"

    def next(self) -> Event:
        """Return the next event; the end of the file is an error here."""
        try:
            return Event(*next(self._parser))
        except StopIteration:
            raise ijson.IncompleteJSONError("premature EOF") from None

    def finish(self) -> None:
        """Read to the end of the file, where only blanks may follow."""
        for kind, _ in self._parser:
            raise ijson.JSONError(f"trailing garbage ({kind})")

    def each_key(self) -> Iterator[str]:
        """Yield the keys of the map just begun; the caller must consume each value before the next key."""
        while (event := self.next()).kind != "end_map":
            yield self._text(event.value)

    def each_element(self) -> Iterator[Event]:
        """Yield the first event of each element of the array just begun; the caller must consume the other events."""
        while (event := self.next()).kind != "end_array":
            yield event

    def skip(self, event: Event) -> None:
        """Skip the rest of the value that began with ``event``."""
        depth = 0
        while True:
            depth += event.kind.startswith("start_") - event.kind.startswith("end_")
            if depth == 0:
                return
            event = self.next()

    def value(self, event: Event, depth: int = 0) -> Any:
        """Return the value that began with ``event``, as Python's ``json`` would.

        :raises InputError: the value is nested deeper than ``MAX_DEPTH``
        """
        if depth > MAX_DEPTH:
            raise InputError(f"{self._path}: values nested deeper than {MAX_DEPTH}, {self.progress}; flatten them")
        if event.kind == "start_map":
            return {key: self.value(self.next(), depth + 1) for key in self.each_key()}
        if event.kind == "start_array":
            return [self.value(element, depth + 1) for element in self.each_element()]
        if event.kind == "string":
            return self._text(event.value)
        return float(event.value) if isinstance(event.value, Decimal) else event.value

    def stray_bytes(self, fields: dict[str, Any]) -> str | None:
        """Set the first text of a record that was not UTF-8 in the file to ``None``, and return the reason.

        :returns: why the row is bad, ``None`` if all its texts are valid
        """
        if not self._guard.stray:
            return None
        for name, value in fields.items():
            if isinstance(value, str) and STRAY.search(value):
                fields[name] = None
                return f"{quoted(name)[1:-1]} is not valid UTF-8"
        return None

    def _text(self, text: str) -> str:
        return unmark(text) if self._guard.found else text


def _place(source: Source, given: int) -> str:
    """Return ``:line`` of the byte at which the parser failed, or an empty text if it does not fail again.

    The parser reports no position, so the file is parsed again, byte by byte towards the place of the failure.

    :param given: how many bytes the parser had been given when it failed
    """
    with open_bytes(source) as stream:
        slow = _SlowEnd(stream, fast=max(0, given - 2 * CHUNK_BYTES))
        try:
            for _ in ijson.basic_parse(slow, buf_size=CHUNK_BYTES):
                pass
        except (ijson.JSONError, ValueError):
            return f":{slow.line}"
    return ""


class _SlowEnd:
    """A stream that returns the first ``fast`` bytes in large pieces and the rest byte by byte, counting lines."""

    def __init__(self, stream: BinaryIO, *, fast: int) -> None:
        self._guard = GuardedStream(stream)
        self._fast = fast
        self._ready = b""
        self.line = 1

    def read(self, size: int) -> bytes:
        if self._guard.given < self._fast:
            data = self._guard.read(size)
        else:
            self._ready = self._ready or self._guard.read(size)
            data, self._ready = self._ready[:1], self._ready[1:]
        self.line += data.count(b"\n")
        return data


def _explain(error: Exception) -> str:
    """Return the parser's message in one line, without its drawing of the place."""
    if isinstance(error, ijson.JSONError):
        message = error.args[0] if error.args else ""
        text = message.decode("utf-8", "replace") if isinstance(message, bytes) else str(message)
        reason = text.strip().partition("\n")[0].rstrip(".") or "incomplete"
    else:
        reason = "a number with too many digits" if "digits" in str(error) else type(error).__name__
    if "premature EOF" in reason or "incomplete" in reason.lower():
        return "the JSON breaks off (complete the file)"
    return f"invalid JSON ({quoted(reason, length=100)[1:-1]}; mend it there)"
