"""Files that appear whole or not at all: temporary file, flush, fsync, rename, fsync of the folder."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from qatool.files.storage.objects import ObjectPath
from qatool.files.storage.uploads import ObjectFile
from qatool.files.storage.writefailures import reporting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from qatool.files.storage.locations import Location


_WHOLE_NAME = 50
"""Longest name that its temporary names hold whole; these characters take at most 200 of the 255 bytes of a name."""


def temporary_name(path: Path) -> Path:
    """Return a fresh hidden name beside ``path``: a rename from there never crosses a file system."""
    return path.with_name(f".{_told_by(path.name)}.{secrets.token_hex(4)}.tmp")


def temporaries_of(path: Path) -> list[Path]:
    """Return, in order, what stands under temporary names of ``path``."""
    pattern = re.compile(rf"\.{re.escape(_told_by(path.name))}\.[0-9a-f]{{8}}\.tmp")
    return sorted(found for found in temporaries_in(path.parent) if pattern.fullmatch(found.name))


def temporaries_in(folder: Path) -> Iterator[Path]:
    """Yield what stands in a folder under temporary names, of whatever."""
    return folder.glob(".*.tmp")


def _told_by(name: str) -> str:
    """Return the part of its temporary names that tells a name from any other."""
    if len(name) <= _WHOLE_NAME:
        return name
    return f"{name[:_WHOLE_NAME]}-{hashlib.blake2b(os.fsencode(name), digest_size=8).hexdigest()}"


def sync_folder(folder: Location) -> None:
    """Make renames in the folder last through a power cut; in a store what is there lasts.

    :raises OSError: the folder cannot be opened
    """
    if isinstance(folder, ObjectPath):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Some network file systems cannot sync a folder; the rename stands all the same.
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


class AtomicFile:
    """A file written under another name, that takes its own name on :meth:`commit` only.

    :param path: the name it will have; what stands there is replaced
    :param staging: the name until then, on the same file system; default: a hidden one in the same folder
    :param confirm: called directly before the rename; what it raises keeps the file from taking its name
    :param sync_name: whether the rename itself must last through a power cut; the content always does
    :raises OutputError: the temporary file cannot be made
    """

    def __init__(
        self,
        path: Path,
        *,
        staging: Path | None = None,
        confirm: Callable[[], None] | None = None,
        sync_name: bool = True,
    ) -> None:
        self.path = path
        self._sync_name = sync_name
        self._confirm = confirm
        self.staging = staging or temporary_name(path)
        with reporting(path):
            # Not tempfile: the file must get the permissions that umask says.
            self.stream: BinaryIO = self.staging.open("wb")

    def commit(self) -> None:
        """Flush to the disk and rename; removes the temporary file when that fails.

        :raises OutputError: the disk is full or the name cannot be taken
        """
        try:
            with reporting(self.path):
                self.stream.flush()
                os.fsync(self.stream.fileno())
                self.stream.close()
                if self._confirm is not None:
                    self._confirm()
                self.staging.replace(self.path)
                if self._sync_name:
                    sync_folder(self.path.parent)
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove the temporary file. Nothing happens to what stands under the final name."""
        # Closing flushes, which fails again on a full disk.
        with suppress(OSError):
            self.stream.close()
        with suppress(OSError):
            self.staging.unlink(missing_ok=True)


def whole_file(
    path: Location,
    *,
    staging: Path | None = None,
    confirm: Callable[[], None] | None = None,
    sync_name: bool = True,
) -> AtomicFile | ObjectFile:
    """Begin a file or object that takes its name when it is whole, see :class:`AtomicFile`.

    :raises OutputError: it cannot be begun
    """
    if isinstance(path, ObjectPath):
        return ObjectFile(path, confirm=confirm)
    return AtomicFile(path, staging=staging, confirm=confirm, sync_name=sync_name)


@contextmanager
def replacing(
    path: Location, *, confirm: Callable[[], None] | None = None, sync_name: bool = True
) -> Iterator[BinaryIO]:
    """Give a stream whose content stands under ``path`` once the block ends well, and nowhere if it raises.

    A device or a pipe is written to as it is: no file can take its place.

    :param confirm: called directly before the rename, see :class:`AtomicFile`
    :param sync_name: likewise
    :raises OutputError: writing fails, or the block raises an ``OSError``
    """
    if is_device(path):
        with reporting(path), path.open("wb") as stream:
            yield stream
        return
    file = whole_file(path, confirm=confirm, sync_name=sync_name)
    try:
        with reporting(path):
            yield file.stream
    except BaseException:
        file.discard()
        raise
    file.commit()


def is_device(path: Location) -> TypeGuard[Path]:
    """Whether a device, a pipe, a socket or an open file (``/dev/stdout``) has this name, and no other file."""
    if isinstance(path, ObjectPath):
        return False
    with reporting(path):
        return path.exists() and not path.is_dir() and (not path.is_file() or _is_open_file(path))


def _is_open_file(path: Path) -> bool:
    """Whether a name leads to one of the files that this process has open."""
    while path.is_symlink():
        path = Path(os.path.abspath(path.parent / os.readlink(path)))  # noqa: PTH100, PTH115
        if re.fullmatch(r"/dev/fd|/proc/(self|\d+)/fd", str(path.parent)):
            return True
    return False


def write_bytes(
    path: Location, data: bytes, *, confirm: Callable[[], None] | None = None, sync_name: bool = True
) -> None:
    """Write a whole file atomically.

    :param confirm: called directly before the rename, see :class:`AtomicFile`
    :param sync_name: likewise
    :raises OutputError: it cannot be written
    """
    with replacing(path, confirm=confirm, sync_name=sync_name) as stream:
        stream.write(data)


def write_json(path: Location, value: Any, *, confirm: Callable[[], None] | None = None) -> None:
    """Write ``value`` as indented UTF-8 JSON, atomically, with a newline at the end.

    Half a surrogate pair, as the bytes of a path that are not UTF-8 become, is written as its escape, and read back.

    :param confirm: called directly before the rename, see :class:`AtomicFile`
    :raises OutputError: it cannot be written
    """
    text = json.dumps(value, ensure_ascii=False, indent=2) + "\n"
    write_bytes(path, text.encode("utf-8", "backslashreplace"), confirm=confirm)
