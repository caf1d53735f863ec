"""The files beside the weights of a model: its configuration and its tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from qatool.errors import EnvironmentUnfitError, reason_of
from qatool.models.hub import hub_file
from qatool.windows.modelfiles import check_config, only_local


def load_config(model: str, *, trust_remote_code: bool = False) -> Any:
    """Return the configuration of ``model``, a folder or a hub id.

    :raises EnvironmentUnfitError: the configuration does not load
    """
    from transformers import AutoConfig

    local = only_local(model)
    try:
        return AutoConfig.from_pretrained(model, local_files_only=local, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        check_config(model)
        reason = reason_of(error)
        raise EnvironmentUnfitError(
            f"{model}: its configuration does not load ({reason}); name a folder with config.json, or a hub id"
        ) from None


def save_tokenizer(model: str, folder: Path, *, trust_remote_code: bool) -> None:
    """Save the tokenizer of ``model``, set to neither truncate nor pad unless asked to.

    :raises OSError: the tokenizer cannot be written
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        model, local_files_only=only_local(model), trust_remote_code=trust_remote_code
    )
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.save_pretrained(folder)


def config_values(model: str) -> SimpleNamespace:
    """Return the values in the configuration of ``model``, a folder or a hub id; empty where there is none.

    It is for callers that need only the tokenizer: a folder may hold nothing else.
    """
    path = Path(model) / "config.json" if Path(model).is_dir() else hub_file(model, "config.json")
    try:
        values = None if path is None else json.loads(path.read_bytes())
    except (OSError, ValueError):
        values = None
    return SimpleNamespace(**(values if isinstance(values, dict) else {}))
