"""What the measurements on a card run on, made on the spot: models of given sizes, their tokenizers, and a corpus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

N_WORDS = 20_000
QUESTIONS_A_CONTEXT = 5
"""SQuAD asks 4 to 6 of each paragraph."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """The shape of a model; the inner size of a layer is four times the hidden one."""

    kind: str
    """``bert`` or ``roberta``."""
    layers: int
    hidden: int
    heads: int
    vocabulary: int


SIZES = {
    "MiniLM": Size(kind="bert", layers=6, hidden=384, heads=12, vocabulary=30_522),
    "distilroberta": Size(kind="roberta", layers=6, hidden=768, heads=12, vocabulary=50_265),
}
REHEARSED = {
    "MiniLM": Size(kind="bert", layers=2, hidden=32, heads=4, vocabulary=2_000),
    "distilroberta": Size(kind="roberta", layers=2, hidden=48, heads=4, vocabulary=2_000),
}


class Words:
    """Made-up words, common ones as common as in a language (Zipf), drawn from a seed."""

    def __init__(self, count: int = N_WORDS, *, seed: int = 11) -> None:
        self._generator = np.random.default_rng(seed)
        syllables = np.array([a + b for a in "bcdfghklmnprstvw" for b in "aeiou"])
        lengths = self._generator.integers(1, 5, count)
        self.words = ["".join(self._generator.choice(syllables, length)) for length in lengths]
        reached = np.cumsum(1 / (np.arange(count) + 3.0))
        self._reached = reached / reached[-1]

    def text(self, length: int) -> str:
        """Return a text of so many words."""
        drawn = np.searchsorted(self._reached, self._generator.random(length))
        return " ".join(self.words[i] for i in drawn.tolist()).capitalize() + "."

    def lengths(self, count: int) -> NDArray[np.int64]:
        """Return numbers of words as paragraphs have them: 120 in the middle, a few several times as many."""
        return np.clip(self._generator.lognormal(np.log(115), 0.4, count), 20, 600).astype(np.int64)


def write_corpus(path: Path, words: Words, examples: int) -> list[dict[str, Any]]:
    """Write questions and contexts as Parquet, with an answer each that stands in its context; return the rows."""
    rows: list[dict[str, Any]] = []
    contexts = [words.text(length) for length in words.lengths(-(-examples // QUESTIONS_A_CONTEXT)).tolist()]
    for number in range(examples):
        context = contexts[number // QUESTIONS_A_CONTEXT]
        place = context.index(" ", len(context) // 3) + 1
        answer = context[place : context.find(" ", place + 5) if " " in context[place + 5 :] else len(context)]
        rows.append(
            {
                "id": str(number),
                "question": words.text(11)[:-1] + "?",
                "context": context,
                "answers": {"text": [answer], "answer_start": [place]},
            }
        )
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=20_000)
    return rows


def make_model(folder: Path, size: Size, texts: Sequence[str], *, spread: float = 0.05) -> Path:
    """Write a model of random weights and a tokenizer for it.

    :param texts: the tokenizer learns its vocabulary from
    :param spread: standard deviation of the weights
    """
    from transformers import AutoModelForQuestionAnswering, BertConfig, RobertaConfig

    tokenizer = _wordpiece(texts) if size.kind == "bert" else _byte_level(texts)
    tokenizer.save_pretrained(folder)
    common = {
        "vocab_size": max(size.vocabulary, len(tokenizer)),
        "hidden_size": size.hidden,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "intermediate_size": 4 * size.hidden,
        "initializer_range": spread,
    }
    torch.manual_seed(5)
    if size.kind == "bert":
        config: Any = BertConfig(**common, max_position_embeddings=512)
    else:
        config = RobertaConfig(**common, max_position_embeddings=514, type_vocab_size=1, pad_token_id=1)
    AutoModelForQuestionAnswering.from_config(config).save_pretrained(folder)
    return folder


def _wordpiece(texts: Sequence[str]) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.train_from_iterator(
        texts, trainers.WordPieceTrainer(vocab_size=8_000, special_tokens=special, show_progress=False)
    )
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, made.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return _fast(made, ["input_ids", "token_type_ids", "attention_mask"], names)


def _byte_level(texts: Sequence[str]) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=8_000,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[(token, made.token_to_id(token)) for token in ("<s>", "</s>")],
    )
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<s>", "sep_token": "</s>"}
    return _fast(made, ["input_ids", "attention_mask"], names)


def _fast(made: Any, inputs: list[str], names: dict[str, str]) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=512, model_input_names=inputs, **names)


def overflowing(model: Path, folder: Path) -> Path:
    """Write a copy of a model whose numbers leave the range of fp16 and not that of bf16: see the second layer."""
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(model, folder)
    weights = load_file(folder / "model.safetensors")
    for name in weights:
        if "layer.1.output.dense.weight" in name:
            weights[name] = weights[name] * 1e5
            weights[name] = weights[name].clamp(-6e4, 6e4)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
