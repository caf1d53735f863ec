"""What all tests share: a tiny model and its tokenizer, made from a seed, and the texts of the fixtures."""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from support import FIXTURES, needs_shared

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["needs_shared"]

# Tiny models gain nothing by threads, and threads that wait for busy cores cost much.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

# No test reads or fills the user's cache; what one converts serves the others.
_CACHE = tempfile.TemporaryDirectory(prefix="qatool-tests-")
os.environ["QATOOL_CACHE"] = _CACHE.name

# The same examples every time, so that what passed here passes there; HYPOTHESIS_PROFILE=explore looks for new ones.
settings.register_profile("same", derandomize=True, database=None)
settings.register_profile("explore")
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.fixture(autouse=True)
def _no_handlers_left() -> Iterator[None]:
    """What a command set up for its log is gone, and pytest sees what the next test logs."""
    yield
    logger = logging.getLogger("qatool")
    for handler in tuple(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def fixture_texts() -> list[str]:
    """The contexts of the fixtures' documents."""
    lines = (FIXTURES / "documents.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["context"] for line in lines]


def vocabulary(texts: list[str]) -> dict[str, int]:
    """Return special tokens, all characters and the commonest words: the same every time, unlike a trained one."""
    words = Counter(word for text in texts for word in re.findall(r"\w+", text.lower()))
    characters = sorted({character for text in texts for character in text.lower() if not character.isspace()})
    common = [word for word, _ in sorted(words.items(), key=lambda item: (-item[1], item[0])) if len(word) > 1][:600]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens = dict.fromkeys([*special, *characters, *(f"##{character}" for character in characters), *common])
    return {token: number for number, token in enumerate(tokens)}


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, fixture_texts: list[str]) -> Path:
    """A BERT of 2 layers with random but seeded weights, and a WordPiece tokenizer of the fixtures' words."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertForQuestionAnswering, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-model")
    tokenizer = Tokenizer(models.WordPiece(vocabulary(fixture_texts), unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", tokenizer.token_to_id("[CLS]")), ("[SEP]", tokenizer.token_to_id("[SEP]"))],
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=128,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    fast.save_pretrained(folder)
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    BertForQuestionAnswering(config).save_pretrained(folder)
    return folder
