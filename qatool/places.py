"""Find out whether two names mean the same file. Links on a disk are followed; stores are not asked."""

from __future__ import annotations

import os
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)
_LOCAL = ("file", "local")
_PROTOCOLS = {"s3a": "s3", "gcs": "gs", "abfss": "abfs", "az": "abfs"}
"""Alternative names of protocols."""


def split_uri(text: str) -> tuple[str, str] | None:
    """Return the protocol, in lower case, and the rest of a URI; ``None`` for a path."""
    found = _URI.fullmatch(text)
    return None if found is None else (found[1].lower(), found[2])


def is_uri(text: str) -> bool:
    """Return whether a text names something in a store rather than on a local disk."""
    parts = split_uri(text)
    return parts is not None and parts[0] not in _LOCAL


def entry_of(name: str, *, real_folder: Callable[[str], str] = os.path.realpath) -> str:
    """Return the path that is replaced by writing a file: links to its folder are followed, the last name is not.

    :param real_folder: returns the path of a folder with links resolved; may be a cached version
    """
    protocol, rest = split_uri(name) or ("file", name)
    if protocol not in _LOCAL:
        return f"{_PROTOCOLS.get(protocol, protocol)}://{_as_path(rest.strip('/'))}"
    folder, own = os.path.split(rest.rstrip("/") or rest)
    if own in {"", ".", ".."}:
        return real_folder(rest)
    return os.path.join(real_folder(folder or "."), own)  # noqa: PTH118 (a text, as it also names URIs)


def _as_path(key: str) -> str:
    """Return a key as a path that is different for every key, although paths ignore ``//`` and ``/./``."""
    return re.sub(r"(?<![^/])(\.?)(?=/|$)", "\\1\0", key)


def places_of(name: str, *, real_folder: Callable[[str], str] = os.path.realpath) -> set[str]:
    """Return the paths that are read under a name: its own and, if that is a link, the target.

    :param real_folder: as for :func:`entry_of`
    """
    entry = entry_of(name, real_folder=real_folder)
    return {entry, os.path.realpath(entry)} if os.path.islink(entry) else {entry}  # noqa: PTH114


def lies_in(name: str, folder: str) -> bool:
    """Return whether a file written under a name would be inside a folder."""
    outer = PurePosixPath(entry_of(folder))
    return any(outer in PurePosixPath(place).parents for place in places_of(name))


def same_place(one: str, other: str) -> bool:
    """Return whether writing under one name may change what is read under the other."""
    return bool(places_of(one) & places_of(other))
