"""Where files are: on a local disk, or in a store."""

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
"""Both are used alike; what differs for a reason asks which it is, once: writing, locking, removing, logging."""

_READ_AT_ONCE = 256


def location(text: str) -> Location:
    """Return the place that a path or URI names.

    :raises UsageError: a URI with credentials in it, or without a bucket
    """
    if not is_uri(text):
        parts = split_uri(text)
        return Path(text if parts is None else parts[1])
    if problem := uri_problem(text):
        raise UsageError(problem)
    return ObjectPath.parse(text)


def on_disk(text: str, *, flag: str) -> Path:
    """Return the path on a disk that something is to be written to.

    :param flag: what the user typed it behind
    :raises UsageError: it is a URI of a store
    """
    place = location(text)
    if isinstance(place, ObjectPath):
        raise UsageError(f"{flag} {place}: is written to a disk only; name a path, and copy it there afterwards")
    return place


def matching(folder: Location, pattern: str) -> list[Location]:
    """Return what directly in a folder matches a pattern of names, in order."""
    found: list[Location] = [*folder.glob(pattern)]
    return sorted(found, key=str)


def move(source: Location, target: Location) -> None:
    """Give a file another name, in place of what has it.

    :param target: on the same disk, or in the same store
    :raises OSError: it cannot be done
    :raises TypeError: one is on a disk, the other in a store
    """
    if isinstance(source, ObjectPath) and isinstance(target, ObjectPath):
        source.replace(target)
        return
    if isinstance(source, ObjectPath) or isinstance(target, ObjectPath):
        raise TypeError(f"{source} and {target} are not in one place")
    source.replace(target)


def is_there(path: Location) -> bool:
    """Whether there is such a file, folder, object or prefix.

    :raises InputError: that cannot be looked up
    """
    with looking_up(path):
        return path.exists()


@contextmanager
def looking_up(path: Location) -> Iterator[None]:
    """Tell what keeps a place, or what is in it, from being looked up.

    :raises InputError: the block raised an ``OSError``
    """
    try:
        yield
    except PermissionError as error:
        raise InputError(f"{path}: {no_access(error)}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be looked up ({error.strerror or error}); check the path") from None


def remove_tree(folder: Location) -> None:
    """Remove a folder and all in it.

    :raises OSError: it cannot be removed
    """
    if isinstance(folder, ObjectPath):
        folder.remove_all()
    else:
        shutil.rmtree(folder)


def contents(paths: Sequence[Location]) -> Iterator[bytes | None]:
    """Yield what files hold, ``None`` for those that are not there; many objects are asked for at once.

    :raises OSError: a store does not answer, or refuses
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
    """Make sure that a file or folder on a disk, if it is there, may be read.

    :raises InputError: it may not
    """
    if not isinstance(path, Path):
        return
    needed = os.R_OK | os.X_OK if os.path.isdir(path) else os.R_OK  # noqa: PTH112 Path.is_dir may raise
    # The run may be removing it just now.
    if not os.access(path, needed) and os.access(path, os.F_OK):
        raise InputError(f"{path}: permission denied; change its permissions")
