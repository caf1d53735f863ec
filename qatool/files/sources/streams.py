"""Streams over the decompressed bytes of input files; failures become messages for the user."""

from __future__ import annotations

import io
import logging
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import pyarrow as pa

from qatool.errors import InputError
from qatool.files.storage.objects import ObjectPath
from qatool.files.storage.stores import ChangedError, no_access
from qatool.logs import log_event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from qatool.files.sources.source import Source
    from qatool.files.storage.locations import Location

BUFFER_BYTES = 1 << 18


@contextmanager
def open_bytes(source: Source) -> Iterator[BinaryIO]:
    """Open a buffered stream over the decompressed bytes of a file; gzip and zstd files may have several members.

    :raises InputError: the file cannot be opened or read, or its archive is truncated or corrupt; also raised for
        failures inside the block
    """
    with reading(source):
        if source.compression is None:
            with _opened(source.path) as stream, _telling_of_changes(source, stream):
                yield stream
            return
        # Arrow rather than gzip or zstandard, because its stream detects a truncated archive in both formats.
        with source.path.open("rb") as raw, _telling_of_changes(source, raw):
            if not source.path.stat().st_size:
                raise InputError(f"{source.path}: is empty, not even an empty archive; fetch it again")
            unpacked = pa.CompressedInputStream(raw, source.compression)
            yield cast("BinaryIO", io.BufferedReader(unpacked, BUFFER_BYTES))


@contextmanager
def _telling_of_changes(source: Source, stream: BinaryIO) -> Iterator[None]:
    """Warn when a file was written to while it was read to its end; one that was replaced is read as it was."""
    if isinstance(source.path, ObjectPath) or source.is_stdin:
        yield
        return
    before = _state(stream)
    yield
    if _state(stream) != before:
        log_event(
            f"{source.path}: was written to while it was read, so rows may be of the old and of the new content; "
            "start the same command again, and let files be replaced by renaming",
            level=logging.WARNING,
        )


def _state(stream: BinaryIO) -> tuple[int, int]:
    told = os.fstat(stream.fileno())
    return told.st_size, told.st_mtime_ns


def _opened(path: Location) -> BinaryIO:
    # Objects have a larger buffer of their own, because each read is a request.
    return path.open("rb") if isinstance(path, ObjectPath) else path.open("rb", buffering=BUFFER_BYTES)


@contextmanager
def reading(source: Source) -> Iterator[None]:
    """Turn errors of the system and of Arrow inside the block into an error that names the file.

    :raises InputError: the block raised an ``OSError`` or an Arrow error
    """
    try:
        yield
    except ChangedError:
        raise InputError(f"{source.path}: was replaced while it was read; start the same command again") from None
    except FileNotFoundError:
        raise InputError(f"{source.path}: no such file; check the path") from None
    except PermissionError as error:
        if isinstance(source.path, ObjectPath):
            raise InputError(f"{source.path}: {no_access(error)}") from None
        raise InputError(f"{source.path}: permission denied; change its permissions") from None
    except (OSError, pa.ArrowException) as error:
        kind = f"{source.compression} archive" if source.compression else f"{source.format} file"
        reason = " ".join(str(error).split()).rstrip(".")
        raise InputError(
            f"{source.path}: cannot be read as a {kind} ({reason}); check that it is complete"
        ) from error
