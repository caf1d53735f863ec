"""The cache folder, for files that can be made again: prepared features, converted models."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "QATOOL_CACHE"


def cache_folder(kind: str) -> Path:
    """Return the cache folder for one kind of content; create the folder if it is missing.

    The parent is ``QATOOL_CACHE`` if set, else ``qatool`` in ``XDG_CACHE_HOME``, else ``~/.cache/qatool``.

    :param kind: name of the folder
    :raises OSError: the folder cannot be created
    """
    given = os.environ.get(CACHE_VARIABLE)
    base = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qatool"
    folder = base / kind
    folder.mkdir(parents=True, exist_ok=True)
    return folder
