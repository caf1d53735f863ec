"""Where things are kept that can be made again: prepared features, converted models."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "QATOOL_CACHE"


def cache_folder(kind: str) -> Path:
    """Return the folder for a kind of cached things, made if it is missing.

    ``QATOOL_CACHE``, else ``qatool`` in ``XDG_CACHE_HOME``, else in ``~/.cache``.

    :raises OSError: it cannot be made
    """
    given = os.environ.get(CACHE_VARIABLE)
    base = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qatool"
    folder = base / kind
    folder.mkdir(parents=True, exist_ok=True)
    return folder
