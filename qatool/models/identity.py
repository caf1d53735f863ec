"""The identity of a model: a fingerprint of its configuration and weights, whatever folder they are in."""

from __future__ import annotations

import hashlib
from pathlib import Path

from qatool.errors import EnvironmentUnfitError
from qatool.models.hub import hub_folder

EXPORTED_GRAPH = "openvino_model.xml"
"""The file that an exported model has instead of weights for torch; Optimum uses the same name."""
_TORCH_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_WEIGHTS = (*_TORCH_WEIGHTS, "openvino_model.*")


def is_exported(model: str) -> bool:
    """Return whether ``model`` is a folder that holds an exported graph and no weights for torch."""
    folder = Path(model)
    return (folder / EXPORTED_GRAPH).is_file() and not any(
        found for pattern in _TORCH_WEIGHTS for found in folder.glob(pattern)
    )


def model_fingerprint(model: str) -> str:
    """Return the SHA-256 (hex) of the configuration and the weight files of ``model``, a folder or a hub id.

    For a hub id, all these files are fetched first: a fingerprint of the configuration alone would fit any weights.

    :raises EnvironmentUnfitError: the files can be neither read nor fetched
    """
    folder = Path(model) if Path(model).is_dir() else hub_folder(model)
    digest = hashlib.sha256()
    weights = next((found for pattern in _WEIGHTS if (found := sorted(folder.glob(pattern)))), [])
    try:
        for path in [folder / "config.json", *weights]:
            digest.update(f"{path.name} {path.stat().st_size}\n".encode())
            with path.open("rb") as stream:
                while chunk := stream.read(1 << 22):
                    digest.update(chunk)
    except OSError as error:
        raise EnvironmentUnfitError(
            f"{error.filename}: cannot be read ({error.strerror}); check the model"
        ) from error
    return digest.hexdigest()
