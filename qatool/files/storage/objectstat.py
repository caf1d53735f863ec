"""Adapters from fsspec to the interfaces of ``os`` and ``io``: the stat of an object, and its byte stream."""

from __future__ import annotations

import io
from typing import Any, NamedTuple, cast

from qatool.files.storage.stores import asking


class ObjectStat(NamedTuple):
    """Metadata of an object; the names are those of ``os.stat_result`` where it has the same field."""

    st_size: int
    """Size in bytes."""
    st_mtime: float
    """When the upload was completed, by the store's clock, in seconds since 1970; 0 if the store does not say."""
    version: str
    """Text that changes whenever the content does: the ETag, or what the store has in its place."""


_CHANGED = ("LastModified", "mtime", "updated", "last_modified", "created")
_VERSION = ("ETag", "etag", "generation", "md5Hash", "version_id", "LastModified", "created")


def stat_of(info: dict[str, Any]) -> ObjectStat:
    """Return the stat from fsspec's ``info`` of an object, whose keys differ from store to store."""
    changed = next((info[name] for name in _CHANGED if info.get(name) is not None), 0.0)
    moment = changed.timestamp() if hasattr(changed, "timestamp") else changed
    version = next((str(info[name]) for name in _VERSION if info.get(name)), f"{moment}")
    seconds = float(moment) if isinstance(moment, int | float) else 0.0
    return ObjectStat(st_size=int(info.get("size") or 0), st_mtime=seconds, version=version)


def with_os_errors(stream: Any) -> io.RawIOBase:
    """Return a stream that wraps one of fsspec's and raises every failure as ``OSError``."""
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
