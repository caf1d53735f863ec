"""Atomic writing: write a temporary file, flush, fsync, rename, and fsync the folder."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
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
"""Longest file name, in characters, that a temporary name contains whole. So many characters take at most 200 bytes,
of the 255 that a name may have."""


def temporary_name(path: Path) -> Path:
    """Return a new hidden name in the folder of ``path``, so that the rename never crosses a file system."""
    return path.with_name(f".{_told_by(path.name)}.{secrets.token_hex(4)}.tmp")


def temporaries_of(path: Path) -> list[Path]:
    """Return the files and folders that have a temporary name of ``path``, sorted."""
    pattern = re.compile(rf"\.{re.escape(_told_by(path.name))}\.[0-9a-f]{{8}}\.tmp")
    return sorted(found for found in temporaries_in(path.parent) if pattern.fullmatch(found.name))


def temporaries_in(folder: Path) -> Iterator[Path]:
    """Yield everything in a folder that has a temporary name, whichever path it was made for."""
    return folder.glob(".*.tmp")


def _told_by(name: str) -> str:
    """Return the part that all temporary names of a file have in common: its name, or a shortened name and a hash."""
    if len(name) <= _WHOLE_NAME:
        return name
    return f"{name[:_WHOLE_NAME]}-{hashlib.blake2b(os.fsencode(name), digest_size=8).hexdigest()}"


def sync_folder(folder: Location) -> None:
    """Fsync a folder, so that renames in it survive a power cut; nothing is needed in a store.

    :raises OSError: the folder cannot be opened
    """
    if isinstance(folder, ObjectPath):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Some network file systems cannot fsync a folder; the rename is valid nevertheless.
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make the content of a file survive a power cut.

    :raises OSError: it cannot be opened, or written to the disk
    """
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def move(source: Location, target: Location) -> None:
    """Move a file, replacing an existing target.

    :param target: new path, on any disk, or in the store of ``source``
    :raises OSError: the file cannot be moved
    :raises TypeError: one path is on a disk and the other in a store
    """
    if isinstance(source, ObjectPath) and isinstance(target, ObjectPath):
        source.replace(target)
        return
    if isinstance(source, ObjectPath) or isinstance(target, ObjectPath):
        raise TypeError(f"{source} and {target} are not in one place")
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with on_one_disk(source, target) as there:
            there.replace(target)


@contextmanager
def on_one_disk(source: Path, target: Path) -> Iterator[Path]:
    """Yield a path that can be renamed to ``target``: ``source`` or, if that is on another disk, a copy of it.

    A copy is in a folder with a temporary name of ``target``. If the block succeeds, ``source`` is removed.

    :param source: a file or folder
    :raises OSError: it cannot be copied
    """
    if source.parent == target.parent or _is_one_disk(source.parent, target):
        yield source
        return
    # It is made inside a folder: what a kill leaves of it must not look like an earlier output that stepped aside.
    folder = temporary_name(target)
    try:
        folder.mkdir()
        yield _copied(source, folder / source.name)
        remove_path(source)
    finally:
        remove_path(folder)


def _is_one_disk(folder: Path, target: Path) -> bool:
    """Return whether a rename leads from a folder to ``target``; numbers of devices do not tell that of mounts."""
    probe, renamed = temporary_name(folder / "probe"), temporary_name(target)
    probe.touch()
    try:
        probe.rename(renamed)
    except OSError as error:
        probe.unlink()
        if error.errno == errno.EXDEV:
            return False
        raise
    renamed.unlink()
    return True


def _copied(source: Path, copy: Path) -> Path:
    """Copy a file or folder, sync the copy, and return its path."""
    if source.is_dir():
        shutil.copytree(source, copy, symlinks=True)
    else:
        shutil.copy(source, copy)
    for path in [copy, *copy.rglob("*")]:
        if path.is_file() and not path.is_symlink():
            sync_file(path)
    return copy


def remove_path(path: Path) -> None:
    """Remove a file or a folder with all that is in it, as far as possible."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


class AtomicFile:
    """A file that is written under a temporary name and takes its final name on :meth:`commit`.

    :param path: the final name; an existing file of that name is replaced
    :param staging: the name to write it under; default: a temporary one in the same folder
    :param confirm: called directly before the rename; if it raises, the rename does not happen
    :param sync_name: whether the rename itself must survive a power cut; the content always does
    :raises OutputError: the temporary file cannot be created
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
            # Not tempfile: the file must have the permissions that umask gives, not those of a private file.
            self.stream: BinaryIO = self.staging.open("wb")

    def commit(self) -> None:
        """Flush the file to the disk and rename it; on failure, remove the temporary file.

        :raises OutputError: the disk is full or the name cannot be taken
        """
        try:
            with reporting(self.path):
                self.stream.flush()
                os.fsync(self.stream.fileno())
                self.stream.close()
                # Whoever made the earlier file private wants the next one to be.
                with suppress(OSError):
                    shutil.copymode(self.path, self.staging)
                with on_one_disk(self.staging, self.path) as staging:
                    if self._confirm is not None:
                        self._confirm()
                    staging.replace(self.path)
                if self._sync_name:
                    sync_folder(self.path.parent)
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove the temporary file; a file under the final name is left alone."""
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
    """Return a new :class:`AtomicFile`, or an :class:`ObjectFile` for a path in a store.

    :raises OutputError: the temporary file cannot be created
    """
    if isinstance(path, ObjectPath):
        return ObjectFile(path, confirm=confirm)
    return AtomicFile(path, staging=staging, confirm=confirm, sync_name=sync_name)


@contextmanager
def replacing(
    path: Location, *, confirm: Callable[[], None] | None = None, sync_name: bool = True
) -> Iterator[BinaryIO]:
    """Open a stream whose content replaces ``path`` when the block succeeds and is discarded when the block raises.

    A device or a pipe is written to directly, because no file can take its place.

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
    """Return whether the path is a device, a pipe, a socket or a link to an open file (``/dev/stdout``)."""
    if isinstance(path, ObjectPath):
        return False
    with reporting(path):
        return path.exists() and not path.is_dir() and (not path.is_file() or _is_open_file(path))


def _is_open_file(path: Path) -> bool:
    """Return whether a path is a link to a file descriptor, as in ``/dev/fd``."""
    while path.is_symlink():
        if re.fullmatch(r"/dev/fd|/proc/(self|\d+)/fd", os.path.abspath(path.parent)):  # noqa: PTH100
            return True
        path = Path(os.path.abspath(path.parent / os.readlink(path)))  # noqa: PTH100, PTH115
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

    A lone surrogate, which is what a path with bytes that are not UTF-8 contains, is written as a JSON escape, from
    which it can be read back.

    :param confirm: called directly before the rename, see :class:`AtomicFile`
    :raises OutputError: it cannot be written
    """
    text = json.dumps(value, ensure_ascii=False, indent=2) + "\n"
    write_bytes(path, text.encode("utf-8", "backslashreplace"), confirm=confirm)
