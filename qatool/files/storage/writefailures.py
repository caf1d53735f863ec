"""Messages for outputs that cannot be written."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qatool.errors import OutputError
from qatool.files.storage.objects import ObjectPath
from qatool.files.storage.stores import no_access

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qatool.files.storage.locations import Location

REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space and start the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space and start the same command again",
    errno.EFBIG: "the file grew beyond what the file system or ulimit allows; write elsewhere",
    errno.EACCES: "permission denied; change the permissions or write elsewhere",
    errno.EPERM: "permission denied; change the permissions or write elsewhere",
    errno.EROFS: "the file system is read-only; write elsewhere",
    errno.ENOENT: "its folder does not exist; create it first",
    errno.ENOTDIR: "a part of the path is a file, not a folder; check the path",
    errno.EISDIR: "is a folder; name a file",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.EBADF: "it is closed; open it, or name a file",
    errno.EPIPE: "the reader has gone; nothing more can be written",
}


STORE_REMEDIES = {
    errno.ENOENT: "no such bucket; create it first, or check the URI and the endpoint that is asked",
    errno.EROFS: "nothing can be written there; name a store, or a path",
}


def output_error(path: Location | str, error: OSError) -> OutputError:
    """Return the error for a failed write to ``path``: the path, the reason and what to do."""
    if isinstance(path, ObjectPath):
        if isinstance(error, PermissionError):
            return OutputError(f"{path}: cannot be written: {no_access(error)}")
        code = errno.ENOENT if isinstance(error, FileNotFoundError) else error.errno or 0
        reason = STORE_REMEDIES.get(code, f"{error.strerror or error}; start the same command again")
    else:
        reason = REMEDIES.get(error.errno or 0, f"{error.strerror or error}; check the disk or write elsewhere")
    return OutputError(f"{path}: cannot be written: {reason}")


@contextmanager
def reporting(path: Location | str) -> Iterator[None]:
    """Turn an ``OSError`` of the block into an :class:`~qatool.errors.OutputError` naming ``path``.

    :raises OutputError: the block raised an ``OSError``
    """
    try:
        yield
    except OSError as error:
        raise output_error(path, error) from error
