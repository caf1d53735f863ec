"""Check that a part is as it was written: by reading it on a disk, by asking for its size and version in a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from qatool.errors import OutputError
from qatool.files.formats.parquet import arrow_source
from qatool.files.storage.objects import ObjectPath
from qatool.files.storage.writefailures import reporting
from qatool.jobs.runfolder.seal import blake2b

if TYPE_CHECKING:
    from qatool.files.storage.locations import Location


def read_back(path: Location, *, rows: int, size: int) -> str:
    """Make sure that a part is complete after it was written.

    :param rows: rows that were written, compared on a disk
    :param size: bytes that were written, compared in a store
    :returns: the version of the part in a store, else an empty string
    :raises OutputError: the part is not complete, or cannot be read
    """
    version = ""
    with reporting(path):
        if isinstance(path, ObjectPath):
            told = path.stat()
            is_whole, version = told.st_size == size, told.version
        else:
            try:
                is_whole = pq.read_metadata(arrow_source(path)).num_rows == rows
            except pa.ArrowException:
                is_whole = False
        if not is_whole:
            raise OutputError(f"{path}: does not hold what was written; check the disk")
    return version


def version_of(path: ObjectPath) -> str | None:
    """Return the store's id of exactly this content of an object, ``None`` when it cannot be looked up."""
    try:
        return path.stat().version
    except OSError:
        return None


def hash_of(path: Location) -> str | None:
    """Return the BLAKE2b hash (hex) of a file, ``None`` when it cannot be read."""
    try:
        return blake2b(path.read_bytes())
    except OSError:
        return None
