"""Protection of lone surrogates and of bytes that are not UTF-8 from a JSON parser that corrupts or refuses them.

YAJL, the parser behind ijson, turns the escape of a lone high surrogate into ``?`` or, worse, merges it with the
escape after it into a character that was never in the file. So such escapes, and stray bytes, are replaced by marks
before the parser sees them. In the parsed text, marks become the surrogates that Python's own ``json`` returns
(those of ``surrogateescape`` for bytes that are not UTF-8).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import BinaryIO

_SUSPECT = re.compile(rb"\\u[dD][89a-fA-F]")
# All escapes are matched, so that an escaped backslash is never taken for the beginning of the next one.
_ESCAPE = re.compile(rb"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u([dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL)
STRAY = re.compile("[\udc80-\udcff]")
# The marks are noncharacters, which Unicode reserves for use inside a program.
_MARK = re.compile("\ufdd0([0-9a-f]{4})\ufdd1")
# Bytes that never occur inside an escape or a multi-byte character, after which it is safe to cut.
_BOUNDARIES = (b" ", b",", b'"', b"}", b"\n")


class GuardedStream:
    """A byte stream for a JSON parser, in which surrogates and stray bytes are marked.

    :ivar found: whether anything was marked so far; only then do texts need :func:`unmark`
    :ivar stray: whether any byte that is not UTF-8 was marked so far
    :ivar given: how many bytes of the file were handed out so far
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._held = b""
        self._first = True
        self.found = False
        self.stray = False
        self.given = 0

    def read(self, size: int = -1) -> bytes:
        """Return about ``size`` bytes, never ending within an escape or a character; empty only at the end."""
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
