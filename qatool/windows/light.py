"""Load a tokenizer from its folder alone, without the second that importing transformers takes.

Only where the outcome is known to be the same: the classes below, when the settings beside ``tokenizer.json`` say
nothing that it does not say itself. A test holds the outcome against transformers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from tokenizers import Tokenizer

# The class's own `model_input_names`, which no file tells.
_INPUTS = {
    "BertTokenizer": ("input_ids", "token_type_ids", "attention_mask"),
    "RobertaTokenizer": ("input_ids", "attention_mask"),
}
# Settings that a class lets override the pipeline: its stage, the stage's type, and its names for them.
_PIPELINE: dict[str, tuple[str, str, dict[str, str]]] = {
    "BertTokenizer": (
        "normalizer",
        "BertNormalizer",
        {
            "do_lower_case": "lowercase",
            "strip_accents": "strip_accents",
            "tokenize_chinese_chars": "handle_chinese_chars",
        },
    ),
    "RobertaTokenizer": ("pre_tokenizer", "ByteLevel", {"add_prefix_space": "add_prefix_space"}),
}

_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


@dataclass(frozen=True, kw_only=True)
class LightTokenizer:
    """What :class:`~qatool.windows.tokenizer.PairTokenizer` needs of a transformers tokenizer."""

    backend_tokenizer: Tokenizer
    model_input_names: tuple[str, ...]
    model_max_length: int
    pad_token_id: int | None
    cls_token_id: int | None
    is_fast: bool = True


def load_light(folder: Path) -> LightTokenizer | None:
    """Return the tokenizer of a folder, ``None`` where only transformers can tell what it is."""
    from tokenizers import Tokenizer

    try:
        config = json.loads((folder / "tokenizer_config.json").read_bytes())
        text = (folder / "tokenizer.json").read_text(encoding="utf-8")
        name = config["tokenizer_class"].removesuffix("Fast")
        limit, pad, cls = config["model_max_length"], config["pad_token"], config["cls_token"]
        if name not in _INPUTS or not _agree(name, config, json.loads(text)):
            return None
        backend = Tokenizer.from_str(text)
    except Exception:  # noqa: BLE001 (tokenizers has no class of its own for a definition it cannot read)
        return None
    pad_id, cls_id = (backend.token_to_id(token) if isinstance(token, str) else None for token in (pad, cls))
    if type(limit) is not int or pad_id is None or cls_id is None:
        return None
    return LightTokenizer(
        backend_tokenizer=backend,
        model_input_names=tuple(config.get("model_input_names") or _INPUTS[name]),
        model_max_length=limit,
        pad_token_id=pad_id,
        cls_token_id=cls_id,
    )


def _agree(name: str, config: dict[str, Any], made: dict[str, Any]) -> bool:
    """Whether the settings beside a tokenizer change nothing about it."""
    stage, kind, names = _PIPELINE[name]
    built = made[stage] or {}
    if built.get("type") != kind or config.get("additional_special_tokens") or config.get("extra_special_tokens"):
        return False
    if any(ours in config and config[ours] != built.get(theirs) for ours, theirs in names.items()):
        return False
    added = made["added_tokens"]
    if "added_tokens_decoder" not in config:
        # From release 5 transformers adds but the special tokens that the definition lacks.
        special = {one["content"] for one in added if one["special"]}
        return all(config[key] in special for key in _SPECIAL if config.get(key) is not None)
    beside = {(int(token), one["content"]) for token, one in config["added_tokens_decoder"].items()}
    return beside == {(one["id"], one["content"]) for one in added}
