"""Writing objects: an object appears whole, when its upload is completed, or not at all."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from qatool.files.storage.stores import asking
from qatool.files.storage.writefailures import reporting

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from qatool.files.storage.objects import ObjectPath

PIECE_BYTES = 32 << 20
"""Bytes of each part of a multipart upload, of which S3 accepts 10,000. Smaller objects are sent in one request."""


class ObjectFile:
    """An object that is written piece by piece and appears on :meth:`commit`, like an ``AtomicFile``.

    :param path: path of the object; an existing object stays until the commit
    :param confirm: called directly before the upload is completed; if it raises, the upload is given up
    """

    def __init__(self, path: ObjectPath, *, confirm: Callable[[], None] | None = None) -> None:
        self.path = path
        self._confirm = confirm
        self._upload = _Upload(path)
        self.stream = cast("BinaryIO", self._upload)

    def commit(self) -> None:
        """Complete the upload; on failure, give it up.

        :raises OutputError: the store refuses access, or cannot be reached
        """
        try:
            with reporting(self.path):
                self._upload.send_rest()
                if self._confirm is not None:
                    self._confirm()
                self._upload.complete()
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Give the upload up; an existing object is left alone."""
        with suppress(OSError):
            self._upload.abort()


class _Upload(io.RawIOBase):
    """A stream that buffers what is written, and starts a multipart upload once that exceeds one part."""

    def __init__(self, path: ObjectPath) -> None:
        self._path = path
        self._held = io.BytesIO()
        self._multipart: Any = None
        self._written = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._written

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self._written += size
        self._held.write(data)
        if self._held.tell() >= PIECE_BYTES:
            with asking():
                if self._multipart is None:
                    self._multipart = self._path.open_upload(PIECE_BYTES)
                self._pass_on()
        return size

    def send_rest(self) -> None:
        """Send the rest of a multipart upload; the object does not appear yet."""
        if self._multipart is not None:
            with asking():
                self._pass_on()
                self._multipart.close()

    def complete(self) -> None:
        """Make the object visible."""
        if self._multipart is None:
            self._path.write_bytes(self._held.getvalue())
        else:
            with asking():
                self._multipart.commit()
        self.close()

    def abort(self) -> None:
        """Discard what was written, including parts already sent to the store."""
        if self._multipart is not None:
            with asking():
                self._multipart.discard()
        self._held = io.BytesIO()
        self.close()

    def _pass_on(self) -> None:
        self._multipart.write(self._held.getvalue())
        self._held = io.BytesIO()
