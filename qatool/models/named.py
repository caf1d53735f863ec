"""Which model is meant where none is named."""

from __future__ import annotations

import os

from qatool.errors import EnvironmentUnfitError

MODEL_VARIABLE = "QATOOL_MODEL"


def model_name(given: str | None) -> str:
    """Return the model that was asked for, else that of the environment.

    :raises EnvironmentUnfitError: neither names one
    """
    name = given or os.environ.get(MODEL_VARIABLE)
    if not name:
        raise EnvironmentUnfitError(
            f"no model: qatool ships none yet; name one with --model DIR|HUB_ID or the variable {MODEL_VARIABLE}"
        )
    return name
