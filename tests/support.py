"""Places tests read from, for test modules to import."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
FIXTURES = PROJECT / "fixtures"
SHARED = PROJECT.parent / "shared"


def needs_shared(*parts: str) -> Path:
    """Return a path below the data that lies beside the project; skip the test where it is absent."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs {Path('..', 'shared', *parts)}, data that is not part of the project")
    return path


def processes_gone(seconds: float = 20) -> bool:
    """Whether no process of ours is left, after a while."""
    end = time.monotonic() + seconds
    while multiprocessing.active_children() and time.monotonic() < end:
        time.sleep(0.02)
    return not multiprocessing.active_children()
