"""What says that a part is whole: its marker, written after it and sealed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qatool.files.storage.locations import Location, contents
from qatool.files.storage.writefailures import reporting
from qatool.jobs.runfolder.seal import unsealed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


@dataclass(frozen=True, kw_only=True)
class Marker:
    """What stands in ``done/`` for a whole part."""

    identity: str
    """Hash of what decided the part besides its input."""
    content_hash: str
    """Of the unit's input."""
    part_hash: str
    """BLAKE2b (hex) of the part's bytes."""
    counts: Mapping[str, int]
    rejects: Sequence[Mapping[str, Any]]
    seconds: float
    """Since the run was started, when the part was done."""
    part_version: str = ""
    """What a store calls just this content of the part (its ETag): spares fetching the part to hash it."""


def read_marker(path: Location) -> Marker | None:
    """Return the marker at ``path``; ``None`` when there is none or it is not as it was written."""
    return next(read_markers([path]))


def read_markers(paths: Sequence[Location]) -> Iterator[Marker | None]:
    """Yield the markers at ``paths``, see :func:`read_marker`.

    :raises OutputError: a store does not answer, or refuses
    """
    found = contents(paths)
    for path in paths:
        with reporting(path):
            data = next(found)
        try:
            yield None if data is None else Marker(**unsealed(json.loads(data)))
        except (ValueError, TypeError, KeyError):
            yield None
