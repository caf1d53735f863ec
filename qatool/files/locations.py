"""Where files are: on a local disk, or in a store."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from qatool.errors import UsageError
from qatool.files.objects import ObjectPath, read_all
from qatool.files.stores import is_uri, split_uri, uri_problem

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
