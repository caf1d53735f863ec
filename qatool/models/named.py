"""Which model is meant: the one that is named, else the one that ships with qatool."""

from __future__ import annotations

import os
from pathlib import Path

MODEL_VARIABLE = "QATOOL_MODEL"
BUNDLED = Path(__file__).parent / "default"
"""The model that ships with qatool; its ``README.md`` tells what it was trained on and how good it is."""


def model_name(given: str | None) -> str:
    """Return the model that was asked for, else that of the environment, else the one that ships with qatool."""
    return given or os.environ.get(MODEL_VARIABLE) or str(BUNDLED)
