"""Import OpenVINO and its companion NNCF, which are optional, without the usage statistics that they would send."""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec
from typing import Any

from qatool.errors import EnvironmentUnfitError


def is_installed() -> bool:
    """Return whether OpenVINO is installed."""
    return find_spec("openvino") is not None


def import_extra(name: str) -> Any:
    """Return the module ``openvino`` or ``nncf``.

    :raises EnvironmentUnfitError: the module is not installed
    """
    # If openvino_telemetry can be imported, both report their use to their makers; qatool sends nothing unasked.
    modules: dict[str, Any] = sys.modules
    modules.setdefault("openvino_telemetry", None)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise EnvironmentUnfitError(f"{name}: cannot be imported; run: pip install 'qatool[openvino]'") from error
