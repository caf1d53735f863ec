"""What a store tells of an object, and its bytes as they come: fsspec's answers in the words of ``os`` and ``io``."""

from __future__ import annotations

import io
from typing import Any, NamedTuple, cast

from qatool.files.storage.stores import asking


class ObjectStat(NamedTuple):
    """What a store tells of an object without giving it."""

    st_size: int
    """Bytes."""
    st_mtime: float
    """When it was completed, by the store's clock; seconds since 1970."""
    version: str
    """Another one whenever the content is another: the ETag, or what the store has in its place."""


_CHANGED = ("LastModified", "mtime", "updated", "last_modified", "created")
_VERSION = ("ETag", "etag", "generation", "md5Hash", "version_id", "LastModified", "created")


def stat_of(info: dict[str, Any]) -> ObjectStat:
    """Return what fsspec's ``info`` tells of an object, by whichever names its store has for it."""
    changed = next((info[name] for name in _CHANGED if info.get(name) is not None), 0.0)
    moment = changed.timestamp() if hasattr(changed, "timestamp") else changed
    version = next((str(info[name]) for name in _VERSION if info.get(name)), f"{moment}")
    seconds = float(moment) if isinstance(moment, int | float) else 0.0
    return ObjectStat(st_size=int(info.get("size") or 0), st_mtime=seconds, version=version)


def with_os_errors(stream: Any) -> io.RawIOBase:
    """Return a stream of fsspec's as one whose failures are told as ``OSError``."""
    return _Told(stream)


class _Told(io.RawIOBase):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        with asking():
            self._stream.seek(offset, whence)
        return self.tell()

    def tell(self) -> int:
        return int(self._stream.tell())

    def readinto(self, buffer: Any) -> int:
        with asking():
            data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int = -1) -> bytes:
        with asking():
            return cast("bytes", self._stream.read(size))

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()
