"""Decide which model to use: the one that is named, else the one that ships with qatool."""

from __future__ import annotations

import os
import re
from pathlib import Path

from qatool.errors import EnvironmentUnfitError

MODEL_VARIABLE = "QATOOL_MODEL"
BUNDLED = Path(__file__).parent / "default"
"""The model that ships with qatool; its ``README.md`` says what it was trained on and how good it is."""


_SHOWN = 80
"""Most characters of a name that messages show where it cannot be a name."""
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)


def model_name(given: str | None) -> str:
    """Return the model that was asked for, else that of ``QATOOL_MODEL``, else the one that ships with qatool.

    :raises EnvironmentUnfitError: the name is neither that of a folder nor a possible id on the hub
    """
    name = given or os.environ.get(MODEL_VARIABLE) or str(BUNDLED)
    try:
        is_folder = Path(name).is_dir()
    except OSError as error:  # as for a name that is too long
        shown = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…"
        raise EnvironmentUnfitError(f"{shown}: cannot be looked up ({error.strerror}); check the name") from None
    if not is_folder and not _HUB_ID.fullmatch(name):
        why = "is no folder" if Path(name).exists() else "no such folder"
        raise EnvironmentUnfitError(f"{name}: {why}; name one with config.json, model.safetensors and tokenizer.json")
    return name


def model_label(model: str) -> str:
    """Return the name of a model for model cards: the name of its folder, or its hub id."""
    return Path(model).name if Path(model).is_dir() else model
