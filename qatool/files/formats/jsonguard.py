"""Lone surrogates and stray bytes, made to survive a JSON parser that would corrupt or refuse them.

YAJL, the parser behind ijson, turns the escape of a lone high surrogate into ``?`` and, worse, merges it with
an escape behind it into a character that was never there. So they are marked before it sees them, and the
marks are turned into the surrogates that Python's own ``json`` gives (those of ``surrogateescape`` for bytes
that are not UTF-8).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import BinaryIO

_SUSPECT = re.compile(rb"\\u[dD][89a-fA-F]")
# Every escape is matched, so that a backslash which is itself escaped begins none.
_ESCAPE = re.compile(rb"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u([dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL)
STRAY = re.compile("[\udc80-\udcff]")
# Noncharacters: Unicode keeps them for use inside a program.
_MARK = re.compile("\ufdd0([0-9a-f]{4})\ufdd1")
# None of these bytes stands inside an escape or a multi-byte character.
_BOUNDARIES = (b" ", b",", b'"', b"}", b"\n")


class GuardedStream:
    """A byte stream for a JSON parser, in which surrogates and stray bytes are marked.

    :ivar found: whether anything was marked so far; only then do texts need :func:`unmark`
    :ivar stray: whether a byte that is not UTF-8 was among it
    :ivar given: how many bytes of the file went into what was read so far
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._held = b""
        self._first = True
        self.found = False
        self.stray = False
        self.given = 0

    def read(self, size: int = -1) -> bytes:
        """Return about ``size`` bytes, cut where no escape or character is cut; empty at the end only."""
        if size == 0:
            return b""
        parts = [self._held]
        cut = 0
        while not cut:
            raw = self._stream.read(size)
            if self._first:
                self._first = False
                if raw.startswith(b"\xef\xbb\xbf"):
                    self.given += 3
                    raw = raw[3:]
            parts.append(raw)
            if not raw:
                cut = -1
            elif last := 1 + max(raw.rfind(boundary) for boundary in _BOUNDARIES):
                cut = last
        data = b"".join(parts)
        self._held = b"" if cut < 0 else parts[-1][cut:]
        data = data[: len(data) - len(self._held)]
        self.given += len(data)
        return self._marked(data)

    def _marked(self, data: bytes) -> bytes:
        if _SUSPECT.search(data):
            data = _ESCAPE.sub(self._mark_escape, data)
        try:
            data.decode()
        except UnicodeDecodeError:
            self.found = self.stray = True
            text = data.decode("utf-8", "surrogateescape")
            return STRAY.sub(lambda match: f"\ufdd0{ord(match[0]):04x}\ufdd1", text).encode()
        return data

    def _mark_escape(self, match: re.Match[bytes]) -> bytes:
        if match[1] is None:
            return match[0]
        self.found = True
        return f"\ufdd0{match[1].decode().lower()}\ufdd1".encode()


def unmark(text: str) -> str:
    """Return the text with the marks turned into lone surrogates."""
    return _MARK.sub(lambda match: chr(int(match[1], 16)), text)
