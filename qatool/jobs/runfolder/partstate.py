"""Whether a part is there as it was written: looked at on a disk, asked for in a store."""

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
    """Make sure that a part is there as it was written; return its version in a store.

    :raises OutputError: it is not
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
    """Return the store's name for just this content of an object, ``None`` when it cannot be looked up."""
    try:
        return path.stat().version
    except OSError:
        return None


def hash_of(path: Location) -> str | None:
    """Return the hash of a file, ``None`` when it cannot be read."""
    try:
        return blake2b(path.read_bytes())
    except OSError:
        return None
