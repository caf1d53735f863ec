"""Tokenizers of every family that questions are answered with, trained on the fixtures' texts in seconds."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

from support import FIXTURES
from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from qatool.windows.tokenizer import PairTokenizer

if TYPE_CHECKING:
    from collections.abc import Callable

TRAINED_ON = 2_000
"""Characters of each text that tokenizers are trained on."""


@cache
def texts() -> tuple[str, ...]:
    """The contexts of the fixtures' documents: emoji, right-to-left, CRLF, NFD, Thai, Chinese …"""
    lines = (FIXTURES / "documents.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(json.loads(line)["context"] for line in lines)


@cache
def questions() -> tuple[str, ...]:
    """The questions of the fixtures."""
    lines = (FIXTURES / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(json.loads(line)["question"] for line in lines)


def wordpiece() -> PreTrainedTokenizerFast:
    """As BERT's: lower case, accents stripped, token types."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    _train(tokenizer, trainers.WordPieceTrainer(vocab_size=1000, special_tokens=special, show_progress=False))
    _frame(tokenizer, "[CLS] $A [SEP] $B:1 [SEP]:1")
    return _fast(tokenizer, types=True, pad="[PAD]", cls="[CLS]")


def byte_level_bpe() -> PreTrainedTokenizerFast:
    """As RoBERTa's: bytes, offsets trimmed of spaces, two separators in the middle, no token types."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "<pad>", "</s>"]
    _train(
        tokenizer,
        trainers.BpeTrainer(vocab_size=800, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", tokenizer.token_to_id("</s>")), ("<s>", tokenizer.token_to_id("<s>")), add_prefix_space=False
    )
    return _fast(tokenizer, types=False, pad="<pad>", cls="<s>")


def unigram() -> PreTrainedTokenizerFast:
    """As XLM-R's: SentencePiece pieces behind a metaspace, NFKC, no token types."""
    return _unigram(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")],
        special=["<s>", "<pad>", "</s>", "<unk>"],
        frame="<s> $A </s> </s> $B </s>",
        types=False,
    )


def albert() -> PreTrainedTokenizerFast:
    """As ALBERT's: Unigram, lower case, accents stripped, token types."""
    return _unigram(
        [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()],
        special=["[CLS]", "<pad>", "[SEP]", "<unk>"],
        frame="[CLS] $A [SEP] $B:1 [SEP]:1",
        types=True,
    )


def xlnet() -> PreTrainedTokenizerFast:
    """As XLNet's: the classification token, of a type of its own, stands at the end."""
    return _unigram(
        [normalizers.NFKC()],
        special=["<cls>", "<pad>", "<sep>", "<unk>"],
        frame="$A <sep> $B:1 <sep>:1 <cls>:2",
        types=True,
    )


FAMILIES: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "wordpiece": cache(wordpiece),
    "byte-level-bpe": cache(byte_level_bpe),
    "unigram": cache(unigram),
    "albert": cache(albert),
    "xlnet": cache(xlnet),
}


@cache
def pair_tokenizer(family: str, *, added: tuple[str, ...] = ()) -> PairTokenizer:
    """Return qatool's tokenizer of a family; the one below it is its own, truncating nothing."""
    backend = Tokenizer.from_str(FAMILIES[family]().backend_tokenizer.to_str())
    backend.add_tokens(list(added))
    return PairTokenizer(_like(FAMILIES[family](), backend), name=family)


def _unigram(steps: list[Any], *, special: list[str], frame: str, types: bool) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    _train(
        tokenizer,
        trainers.UnigramTrainer(
            vocab_size=800, special_tokens=special, unk_token="<unk>", show_progress=False, n_sub_iterations=1
        ),
    )
    _frame(tokenizer, frame)
    return _fast(tokenizer, types=types, pad="<pad>", cls=special[0])


def _train(tokenizer: Tokenizer, trainer: Any) -> None:
    tokenizer.train_from_iterator([text[:TRAINED_ON] for text in texts()], trainer)


def _frame(tokenizer: Tokenizer, pair: str) -> None:
    special = {word.partition(":")[0] for word in pair.split()} - {"$A", "$B"}
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A", pair=pair, special_tokens=[(token, tokenizer.token_to_id(token)) for token in sorted(special)]
    )


def _fast(tokenizer: Tokenizer, *, types: bool, pad: str, cls: str) -> PreTrainedTokenizerFast:
    names = ["input_ids", "token_type_ids", "attention_mask"] if types else ["input_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, cls_token=cls, model_input_names=names, model_max_length=512
    )


def _like(other: PreTrainedTokenizerFast, tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=other.pad_token,
        cls_token=other.cls_token,
        model_input_names=other.model_input_names,
        model_max_length=other.model_max_length,
    )
