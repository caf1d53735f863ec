"""Locations, which are paths on a local disk or in a store, and what can be done with both alike."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from qatool.errors import InputError, UsageError
from qatool.files.storage.objects import ObjectPath, read_all
from qatool.files.storage.stores import no_access, uri_problem
from qatool.places import is_uri, split_uri

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Location: TypeAlias = Path | ObjectPath
"""Both types are used alike; only writing, locking, removing and logging check which of them a location is."""

_READ_AT_ONCE = 256
"""How many files :func:`contents` asks for in one go."""


def location(text: str) -> Location:
    """Return the location that a path or URI names.

    :raises UsageError: the URI contains credentials, or names no bucket
    """
    if not is_uri(text):
        parts = split_uri(text)
        return Path(text if parts is None else parts[1])
    if problem := uri_problem(text):
        raise UsageError(problem)
    return ObjectPath.parse(text)


def on_disk(text: str, *, flag: str) -> Path:
    """Return the local path for an output that cannot be written to a store.

    :param flag: the option that the user gave it with, for the message
    :raises UsageError: the text is the URI of a store
    """
    place = location(text)
    if isinstance(place, ObjectPath):
        raise UsageError(f"{flag} {place}: is written to a disk only; name a path, and copy it there afterwards")
    return place


def matching(folder: Location, pattern: str) -> list[Location]:
    """Return the files and folders directly in a folder whose name matches a glob pattern, sorted."""
    found: list[Location] = [*folder.glob(pattern)]
    return sorted(found, key=str)


def is_there(path: Location) -> bool:
    """Return whether a file, folder, object or prefix exists.

    :raises InputError: the location cannot be looked up
    """
    with looking_up(path):
        return path.exists()


@contextmanager
def looking_up(path: Location) -> Iterator[None]:
    """Turn an ``OSError`` of the block into an error which says that the path cannot be looked up.

    :raises InputError: the block raised an ``OSError``
    """
    try:
        yield
    except PermissionError as error:
        raise InputError(f"{path}: {no_access(error)}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be looked up ({error.strerror or error}); check the path") from None


def remove_tree(folder: Location) -> None:
    """Remove a folder, or all objects under a prefix.

    :raises OSError: something cannot be removed
    """
    if isinstance(folder, ObjectPath):
        folder.remove_all()
    else:
        shutil.rmtree(folder)


def contents(paths: Sequence[Location]) -> Iterator[bytes | None]:
    """Yield the content of each file, ``None`` for a missing one; objects are fetched in parallel.

    :raises OSError: a store does not answer, or refuses access
    """
    for first in range(0, len(paths), _READ_AT_ONCE):
        some = paths[first : first + _READ_AT_ONCE]
        objects = [path for path in some if isinstance(path, ObjectPath)]
        if len(objects) == len(some):
            yield from read_all(objects)
            continue
        for path in some:
            try:
                yield path.read_bytes()
            except OSError:
                yield None


def check_readable(path: Location) -> None:
    """Check that a local file or folder, if it exists, may be read.

    :raises InputError: its permissions do not allow that
    """
    if not isinstance(path, Path):
        return
    needed = os.R_OK | os.X_OK if os.path.isdir(path) else os.R_OK  # noqa: PTH112 Path.is_dir may raise
    # F_OK again: a run may have removed the path between the two checks.
    if not os.access(path, needed) and os.access(path, os.F_OK):
        raise InputError(f"{path}: permission denied; change its permissions")
