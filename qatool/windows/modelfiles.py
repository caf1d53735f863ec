"""Where the files of a model come from: a folder, this machine's cache of the Hugging Face hub, or the hub itself."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path

from qatool.errors import EnvironmentUnfitError, reason_of
from qatool.logs import log_event, take_over

_TELLING = ("config.json", "tokenizer.json", "tokenizer_config.json")
"""Files of which a model in the cache has at least one."""


def only_local(model: str) -> bool:
    """Return whether the files of ``model``, a folder or a hub id, are to be looked for on this machine only.

    That is so for folders, and for what the cache holds of a hub id while the hub does not give it. The hub is asked
    once: its library spends up to half a minute on each file before it says that there is no network.

    :raises EnvironmentUnfitError: there is no such folder, and the hub id is neither in the cache nor can be fetched
    """
    return Path(model).is_dir() or _only_cached(model)


def check_config(model: str) -> None:
    """Check, where a model did not load, that this is not for want of a configuration in its folder.

    :raises EnvironmentUnfitError: the folder has none
    """
    if Path(model).is_dir() and not (Path(model) / "config.json").exists():
        raise EnvironmentUnfitError(
            f"{model}: holds no config.json, so it is no model; name a folder with config.json, model.safetensors "
            "and tokenizer.json, or a hub id"
        )


@cache
def _only_cached(model: str) -> bool:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    take_over("huggingface_hub")
    found = _obstacle(model)
    if found is None:
        return False
    why, remedy = found
    try:
        is_cached = any(isinstance(try_to_load_from_cache(model, name), str) for name in _TELLING)
    except HFValidationError:
        is_cached = False
        why, remedy = "no hub id is written like this", "check the name"
    if not is_cached:
        raise EnvironmentUnfitError(
            f"{model}: there is no such folder, and as a hub id it cannot be fetched ({why}); {remedy}"
        )
    log_event(f"{model}: is taken from the cache ({why})", level=logging.DEBUG)
    return True


def _obstacle(model: str) -> tuple[str, str] | None:
    """Return why the hub does not give the files of a model, and what to do about it, ``None`` if it may."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set, and the cache lacks it", "check the name, or fetch it without HF_HUB_OFFLINE"
    try:
        get_hf_file_metadata(hf_hub_url(model, "config.json"))
    except GatedRepoError:
        return "its authors grant access one by one", "ask for access on its page, and run: hf auth login"
    except RepositoryNotFoundError:
        return "the hub has none of that name, or it is private", "check the name, or run: hf auth login"
    except HfHubHTTPError:
        return None  # The file may be missing or the hub busy, which its library deals with.
    except Exception as error:  # noqa: BLE001 (the classes are those of the HTTP library, which changes)
        return f"the hub cannot be reached: {reason_of(error)}", "check the name, or the network"
    return None
