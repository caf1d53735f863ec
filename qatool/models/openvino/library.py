"""Import OpenVINO and its companion NNCF: an extra, and without the usage statistics they would send."""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec
from typing import Any

from qatool.errors import EnvironmentUnfitError


def is_installed() -> bool:
    """Whether models can be run by OpenVINO."""
    return find_spec("openvino") is not None


def import_extra(name: str) -> Any:
    """Return ``openvino`` or ``nncf``.

    :raises EnvironmentUnfitError: it is not installed
    """
    # Both report their use to their makers when this can be imported; nothing here goes to the network unasked.
    modules: dict[str, Any] = sys.modules
    modules.setdefault("openvino_telemetry", None)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise EnvironmentUnfitError(f"{name}: cannot be imported; run: pip install 'qatool[openvino]'") from error
