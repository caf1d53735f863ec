"""Files of models on the Hugging Face hub, taken from this machine's cache and fetched into it where missing."""

from __future__ import annotations

from pathlib import Path

from qatool.errors import EnvironmentUnfitError, reason_of
from qatool.windows.modelfiles import only_local

_WEIGHTS = (
    "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json",
)  # fmt: skip
"""Names of weight files, in the order in which transformers looks for them."""


def hub_file(model: str, name: str) -> Path | None:
    """Return the path of a file of a model on the hub, ``None`` where the model has none of that name.

    :param model: a hub id
    :raises EnvironmentUnfitError: the model is neither in the cache nor can be fetched
    """
    from transformers.utils.hub import cached_file

    local = only_local(model)
    try:
        found = cached_file(model, name, local_files_only=local, _raise_exceptions_for_missing_entries=False)
    except (OSError, ValueError):
        return None
    return None if found is None else Path(found)


def hub_folder(model: str) -> Path:
    """Return the folder in the cache that holds the configuration and all weights of a model.

    :param model: a hub id
    :raises EnvironmentUnfitError: the files can be neither found nor fetched
    """
    if hub_file(model, "config.json") is None:
        raise EnvironmentUnfitError(f"{model}: its configuration cannot be found; name a folder, or a hub id")
    for name in _WEIGHTS:
        found = hub_file(model, name)
        if found is None:
            continue
        if found.suffix == ".json":
            _fetch_shards(model, found)
        return found.parent
    raise EnvironmentUnfitError(f"{model}: its weights cannot be found; name a folder, or a hub id")


def _fetch_shards(model: str, index: Path) -> None:
    from transformers.utils.hub import get_checkpoint_shard_files

    try:
        get_checkpoint_shard_files(model, str(index), local_files_only=only_local(model))  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        reason = reason_of(error)
        raise EnvironmentUnfitError(f"{model}: its weights cannot be found ({reason}); name a folder") from None
