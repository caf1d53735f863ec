"""Bytes of an input file, decompressed on the way, with failures told in the user's words."""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import pyarrow as pa

from qatool.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from qatool.files.paths import Source

BUFFER_BYTES = 1 << 18


@contextmanager
def open_bytes(source: Source) -> Iterator[BinaryIO]:
    """Give a buffered stream over the decompressed bytes of a file; gzip and zstd may hold several members.

    :raises InputError: the file cannot be opened or read, or its archive is truncated or corrupt; also while
        reading inside the block
    """
    with reading(source):
        if source.compression is None:
            with source.path.open("rb", buffering=BUFFER_BYTES) as stream:
                yield stream
            return
        # Arrow and not gzip or zstandard: its stream notices an archive that breaks off in either format.
        with source.path.open("rb") as raw:
            if not source.path.stat().st_size:
                raise InputError(f"{source.path}: is empty, not even an empty archive; fetch it again")
            unpacked = pa.CompressedInputStream(raw, source.compression)
            yield cast("BinaryIO", io.BufferedReader(unpacked, BUFFER_BYTES))


@contextmanager
def reading(source: Source) -> Iterator[None]:
    """Turn what the system and Arrow raise inside the block into an error that names the file.

    :raises InputError: the block raised an ``OSError`` or an Arrow error
    """
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{source.path}: no such file; check the path") from None
    except PermissionError:
        raise InputError(f"{source.path}: permission denied; change its permissions") from None
    except (OSError, pa.ArrowException) as error:
        kind = f"{source.compression} archive" if source.compression else f"{source.format} file"
        reason = " ".join(str(error).split()).rstrip(".")
        raise InputError(
            f"{source.path}: cannot be read as a {kind} ({reason}); check that it is complete"
        ) from error
