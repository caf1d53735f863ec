"""Load a tokenizer from its folder without transformers, whose import takes a second.

This is done only if the result is known to be the same. For the classes below, transformers ignores the pipeline in
``tokenizer.json`` and builds one from the settings in ``tokenizer_config.json``; a tokenizer is loaded here if both
pipelines are equal. A test compares the result with that of transformers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from tokenizers import Tokenizer

# The `model_input_names` of each class, which are in no file.
_INPUTS = {
    "BertTokenizer": ("input_ids", "token_type_ids", "attention_mask"),
    "RobertaTokenizer": ("input_ids", "attention_mask"),
}
_STAGES = ("normalizer", "pre_tokenizer", "post_processor")
_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


@dataclass(frozen=True, kw_only=True)
class LightTokenizer:
    """The attributes of a transformers tokenizer that :class:`~qatool.windows.tokenizer.PairTokenizer` uses."""

    backend_tokenizer: Tokenizer
    model_input_names: tuple[str, ...]
    model_max_length: int
    pad_token_id: int | None
    cls_token_id: int | None
    is_fast: bool = True


def load_light(folder: Path) -> LightTokenizer | None:
    """Return the tokenizer of a folder, ``None`` if it must be loaded by transformers."""
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
    """Return whether the pipeline in ``tokenizer.json`` is the one that transformers builds from the settings.

    :param name: class of the tokenizer
    :param config: content of ``tokenizer_config.json``
    :param made: content of ``tokenizer.json``
    """
    if config.get("additional_special_tokens") or config.get("extra_special_tokens"):
        return False
    ids = {one["content"]: one["id"] for one in made["added_tokens"]}
    expected = _BUILT[name](config, ids)
    # Falsy settings of the model count as absent.
    model = {key: made["model"].get(key) or None for key in expected["model"]}
    if model != expected["model"] or any(made[stage] != expected[stage] for stage in _STAGES):
        return False
    added = made["added_tokens"]
    if "added_tokens_decoder" not in config:
        # Transformers 5 adds only those special tokens that the definition lacks.
        special = {one["content"] for one in added if one["special"]}
        return all(config[key] in special for key in _SPECIAL if config.get(key) is not None)
    beside = {(int(token), one["content"]) for token, one in config["added_tokens_decoder"].items()}
    return beside == {(one["id"], one["content"]) for one in added}


def _built_bert(config: dict[str, Any], ids: dict[str, int]) -> dict[str, Any]:
    cls, sep = config["cls_token"], config["sep_token"]

    def one(token: str, type_id: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": token, "type_id": type_id}}

    def text(name: str, type_id: int) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": type_id}}

    single = [one(cls, 0), text("A", 0), one(sep, 0)]
    return {
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": config.get("tokenize_chinese_chars", True),
            "strip_accents": config.get("strip_accents"),
            "lowercase": config.get("do_lower_case", True),
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, text("B", 1), one(sep, 1)],
            "special_tokens": {token: {"id": token, "ids": [ids[token]], "tokens": [token]} for token in (cls, sep)},
        },
        "model": {
            "type": "WordPiece",
            "unk_token": config["unk_token"],
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
        },
    }


def _built_roberta(config: dict[str, Any], ids: dict[str, int]) -> dict[str, Any]:
    cls, sep, space = config["cls_token"], config["sep_token"], config.get("add_prefix_space", False)
    nothing = ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback")
    return {
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": space, "trim_offsets": True, "use_regex": True},
        "post_processor": {
            "type": "RobertaProcessing",
            "sep": [sep, ids[sep]],
            "cls": [cls, ids[cls]],
            "trim_offsets": config.get("trim_offsets", True),
            "add_prefix_space": space,
        },
        "model": {"type": "BPE", **dict.fromkeys((*nothing, "ignore_merges"))},
    }


_BUILT = {"BertTokenizer": _built_bert, "RobertaTokenizer": _built_roberta}
