"""The tokenizer of a question-answering model, which tokenises questions and contexts separately, each text once.

A window is ``prefix question middle context suffix``. The special tokens around the two texts are learned by encoding
a short pair, so that BERT, RoBERTa, XLM-R, DeBERTa, XLNet … need no code of their own.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from qatool.errors import EnvironmentUnfitError, reason_of
from qatool.windows.light import load_light
from qatool.windows.modelfiles import check_config, only_local
from qatool.windows.ragged import offsets_of
from qatool.windows.terms import terms_of
from qatool.windows.words import WordMemory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenizers import Tokenizer

NO_WORD = -1


@dataclass(frozen=True, kw_only=True)
class TokenizedTexts:
    """Tokens of several texts, without special tokens, as ragged arrays.

    The tokens of text ``i`` are at ``offsets[i]:offsets[i + 1]`` of the flat arrays.
    """

    texts: Sequence[str]
    input_ids: NDArray[np.int32]
    """``(tokens,)``"""
    offsets: NDArray[np.int64]
    """``(texts + 1,)``: boundaries of the texts in the flat arrays."""
    offset_mapping: NDArray[np.int32] | None = None
    """``(tokens, 2)``: half-open range of each token in its text, in code points."""
    word_ids: NDArray[np.int32] | None = None
    """``(tokens,)``: the word of its text that a token belongs to, or ``NO_WORD``."""

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each text: ``(texts,)``."""
        return np.diff(self.offsets)


@dataclass(frozen=True, kw_only=True)
class PairTemplate:
    """The special tokens around question and context, and the token types of all tokens."""

    prefix: tuple[int, ...]
    middle: tuple[int, ...]
    suffix: tuple[int, ...]
    special_type_ids: tuple[int, ...]
    """Token type of each token of prefix, middle and suffix; within XLNet's suffix, for example, types differ."""
    question_type_id: int
    context_type_id: int
    null_in_suffix: bool
    """Whether the classification token is in the suffix, as XLNet's is, instead of the prefix."""

    @property
    def n_special(self) -> int:
        """The number of special tokens in a window."""
        return len(self.prefix) + len(self.middle) + len(self.suffix)


class PairTokenizer:
    """A fast tokenizer, with what windows need of it.

    :param tokenizer: a transformers tokenizer
    :param name: name of its model, for messages
    :raises EnvironmentUnfitError: the tokenizer has no fast implementation or no vocabulary, or cannot encode pairs
    """

    def __init__(self, tokenizer: Any, *, name: str) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise EnvironmentUnfitError(
                f"{name}: its tokenizer has no fast implementation, which offsets need; "
                "save it once with a tokenizer.json"
            )
        self.name = name
        self._backend: Tokenizer = tokenizer.backend_tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()
        self._words: WordMemory | None = None
        if self._backend.get_vocab_size(with_added_tokens=True) <= len(self._backend.get_added_tokens_decoder()):
            raise EnvironmentUnfitError(
                f"{name}: its tokenizer knows no words; tokenizer.json or the vocabulary is missing from the folder"
            )
        self.pad_token_id: int = tokenizer.pad_token_id or 0
        self.uses_token_types: bool = "token_type_ids" in tokenizer.model_input_names
        self.model_max_length: int = tokenizer.model_max_length
        self.template = _probe(self._backend, cls_token_id=tokenizer.cls_token_id, name=name)

    @classmethod
    def load(cls, model: str, *, trust_remote_code: bool = False) -> Self:
        """Load the tokenizer of ``model``, a folder or a hub id; for a folder, the network is never used.

        Transformers, which takes long to import, is used only if the tokenizer cannot be loaded without it.

        :raises EnvironmentUnfitError: the tokenizer does not load
        """
        is_plain = not (trust_remote_code and _has_own_code(Path(model)))
        if is_plain and (found := load_light(Path(model))) is not None:
            return cls(found, name=model)
        local = only_local(model)
        try:
            loader = _named_class(Path(model)) if is_plain else None
            if loader is None:
                from transformers import AutoTokenizer

                loader = AutoTokenizer
            tokenizer = loader.from_pretrained(model, local_files_only=local, trust_remote_code=trust_remote_code)
        except Exception as error:
            check_config(model)
            raise EnvironmentUnfitError(
                f"{model}: its tokenizer does not load ({reason_of(error)}); "
                "name a folder with config.json, model.safetensors and tokenizer.json, or a hub id"
            ) from error
        return cls(tokenizer, name=model)

    def remember_words(self) -> None:
        """Tokenise faster from now on by remembering words, if the tokenizer allows it; the tokens are the same."""
        self._words = WordMemory.of(self._backend)

    def token(self, token_id: int) -> str:
        """Return the token with this id as the tokenizer spells it."""
        return self._backend.id_to_token(token_id) or f"<{token_id}>"

    @cached_property
    def terms(self) -> NDArray[np.int64]:
        """The term that each token id stands for in a search: ``(vocabulary,)``, see :mod:`qatool.windows.terms`."""
        from tokenizers.decoders import ByteLevel

        return terms_of(
            self._backend.get_vocab(with_added_tokens=True),
            of_bytes=isinstance(self._backend.decoder, ByteLevel),
            special={number for number, token in self._backend.get_added_tokens_decoder().items() if token.special},
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the tokenizer's whole definition."""
        return hashlib.sha256(self._backend.to_str().encode()).hexdigest()

    def tokenize(self, texts: Sequence[str], *, offsets: bool = True, words: bool = False) -> TokenizedTexts:
        """Tokenise each text separately, without special tokens.

        :param offsets: whether to return ``offset_mapping``, which is a little slower
        :param words: whether to return ``word_ids``
        """
        if self._words is not None and not words:
            found = self._words.tokenize(texts)
            if found is not None:
                return TokenizedTexts(
                    texts=texts,
                    input_ids=found.input_ids,
                    offsets=found.offsets,
                    offset_mapping=found.offset_mapping if offsets else None,
                )
        encode = self._backend.encode_batch if offsets or words else self._backend.encode_batch_fast
        encodings = encode(list(texts), add_special_tokens=False)
        boundaries = offsets_of(np.fromiter(map(len, encodings), np.int64, len(encodings)))
        total = int(boundaries[-1])
        mapping = word_ids = None
        if offsets:
            flat = chain.from_iterable(chain.from_iterable(e.offsets for e in encodings))
            mapping = np.fromiter(flat, np.int32, 2 * total).reshape(total, 2)
        if words:
            flat_words = chain.from_iterable(e.word_ids for e in encodings)
            word_ids = np.fromiter((NO_WORD if w is None else w for w in flat_words), np.int32, total)
        return TokenizedTexts(
            texts=texts,
            input_ids=np.fromiter(chain.from_iterable(e.ids for e in encodings), np.int32, total),
            offsets=boundaries,
            offset_mapping=mapping,
            word_ids=word_ids,
        )


def _probe(backend: Tokenizer, *, cls_token_id: int | None, name: str) -> PairTemplate:
    """Return the template, learned from how the tokenizer encodes a pair of one-letter texts.

    :raises EnvironmentUnfitError: it cannot encode pairs
    """
    pair = backend.encode("a", "b")
    pieces: list[list[int]] = [[], [], [], [], []]
    types: list[list[int]] = [[], [], [], [], []]
    seen = 0
    for token, type_id, sequence in zip(pair.ids, pair.type_ids, pair.sequence_ids, strict=True):
        seen = max(seen, 0 if sequence is None else 2 * sequence + 1)
        piece = seen + (sequence is None and seen > 0)
        pieces[piece].append(token)
        types[piece].append(type_id)
    prefix, question, middle, context, suffix = pieces
    if not question or not context:
        raise EnvironmentUnfitError(f"{name}: its tokenizer cannot encode a pair of texts; use another model")
    return PairTemplate(
        prefix=tuple(prefix),
        middle=tuple(middle),
        suffix=tuple(suffix),
        special_type_ids=(*types[0], *types[2], *types[4]),
        question_type_id=types[1][0],
        context_type_id=types[3][0],
        null_in_suffix=cls_token_id is not None and cls_token_id in suffix and cls_token_id not in prefix,
    )


def _has_own_code(folder: Path) -> bool:
    """Return whether a folder names a class for its tokenizer that comes with it, whatever other class it names."""
    try:
        return "AutoTokenizer" in json.loads((folder / "tokenizer_config.json").read_bytes())["auto_map"]
    except (OSError, ValueError, TypeError, KeyError):
        return False


def _named_class(folder: Path) -> Any | None:
    """Return the fast tokenizer class that a folder names, ``None`` if ``AutoTokenizer`` must find it."""
    import transformers

    try:
        name = str(json.loads((folder / "tokenizer_config.json").read_bytes())["tokenizer_class"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    for spelling in (name, name.removesuffix("Fast")):
        found = getattr(transformers, spelling, None)
        if isinstance(found, type) and issubclass(found, transformers.PreTrainedTokenizerFast):
            return found
    return None
