"""Markers, each of which says that a part is complete; a marker is sealed, and written after its part."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qatool.files.storage.locations import Location, contents
from qatool.files.storage.writefailures import reporting
from qatool.jobs.runfolder.seal import unsealed_as

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


@dataclass(frozen=True, kw_only=True)
class Marker:
    """The content of a file in ``done/``, which says that a part is complete."""

    identity: str
    """Hash of everything besides the input that decided the part."""
    content_hash: str
    """Hash of the input of the unit."""
    part_hash: str
    """BLAKE2b hash (hex) of the bytes of the part."""
    counts: Mapping[str, int]
    rejects: Sequence[Mapping[str, Any]]
    part_version: str = ""
    """The store's id of exactly this content of the part (its ETag), so that the part need not be fetched to be
    hashed; empty on a disk."""


def read_marker(path: Location) -> Marker | None:
    """Return the marker at ``path``, ``None`` when there is none or it is damaged.

    :raises OutputError: a store does not answer, or refuses the request
    """
    return next(read_markers([path]))


def read_markers(paths: Sequence[Location]) -> Iterator[Marker | None]:
    """Yield the markers at ``paths``; see :func:`read_marker`.

    :raises OutputError: a store does not answer, or refuses the request
    """
    found = contents(paths)
    for path in paths:
        with reporting(path):
            data = next(found)
        try:
            yield None if data is None else unsealed_as(Marker, json.loads(data))
        except (ValueError, TypeError, KeyError):
            yield None
