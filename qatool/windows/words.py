"""Tokenise faster by remembering words: most words of a corpus recur, and a look-up costs a tenth of tokenising.

The result is that of the tokenizer itself. This works only for pipelines in which the tokens of a word do not depend
on its surroundings: BERT's (normaliser and pre-tokeniser work character by character, words are cut at white space)
and the byte-level BPE of GPT-2 and RoBERTa (its pattern begins a new word at a space that a word follows). The first
texts are tokenised both ways; after any difference, the tokenizer does all the work.
"""

from __future__ import annotations

import json
import re
from itertools import chain, repeat
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from qatool.windows.ragged import offsets_of, ranges

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tokenizers import Encoding, Tokenizer

MAX_WORDS = 50_000
"""Most words remembered; with more, all are forgotten, so that memory stays bounded."""
MAX_TOKENS = 1_000_000
"""Most tokens of remembered words; likewise."""
_CHECKED_TEXTS = 64
"""How many texts are tokenised both ways."""
_TEXT_WORDS = 256
"""How many new words are tokenised as one text."""
# Control characters are removed, so that the characters around them become one word.
_JOINING = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# Any other ASCII character that is no letter or digit separates words: it is a token (punctuation) or none (space).
_PIECES = re.compile(r"([^A-Za-z0-9])")
_SPACE = re.compile(r"( )")
_OTHER_SPACE = re.compile(r"  |[^\S ]| $")


class FlatTokens(NamedTuple):
    """Tokens of several texts, one after the other."""

    input_ids: NDArray[np.int32]
    """``(tokens,)``"""
    offset_mapping: NDArray[np.int32]
    """``(tokens, 2)``: half-open range of each token in its text, in code points."""
    offsets: NDArray[np.int64]
    """``(texts + 1,)``: boundaries of the texts."""


class WordMemory:
    """Tokenises texts by words, and remembers the tokens of each word.

    :param backend: the tokenizer, without truncation and padding
    :param leading_space: whether a word is tokenised together with the space before it (byte-level BPE)
    :param added: added tokens of the tokenizer
    """

    def __init__(self, backend: Tokenizer, *, leading_space: bool, added: Iterable[str]) -> None:
        self._backend = backend
        self._leading_space = leading_space
        # The tokenizer finds added tokens first, across words: a text that contains one is treated as one word.
        words = [token for token in added if token]
        self._added = re.compile("|".join(map(re.escape, words)) or "(?!)", re.IGNORECASE)
        self._added_begin = sorted({start for token in words for start in (token[0].lower(), token[0].upper())})
        self._unchecked = _CHECKED_TEXTS
        self.is_exact = True
        """Whether all texts that were checked have the same tokens as from the tokenizer."""
        self._first: dict[str, int] = {}
        self._later: dict[str, int] = {}
        self._ids: NDArray[np.int32]
        self._spans: NDArray[np.int32]
        self._boundaries: NDArray[np.int64]
        self._lengths: NDArray[np.int64]
        self._forget()

    @classmethod
    def of(cls, backend: Tokenizer) -> Self | None:
        """Return a memory for a tokenizer, ``None`` if the tokens of words depend on their surroundings."""
        made = json.loads(backend.to_str())
        kinds = [(made[stage] or {}).get("type") for stage in ("normalizer", "pre_tokenizer", "model")]
        added = [token["content"] for token in made["added_tokens"]]
        if kinds == ["BertNormalizer", "BertPreTokenizer", "WordPiece"]:
            return cls(backend, leading_space=False, added=added)
        splitter = made["pre_tokenizer"] or {}
        plain = not splitter.get("add_prefix_space") and splitter.get("use_regex", True)
        if kinds == [None, "ByteLevel", "BPE"] and plain and not made["model"].get("dropout"):
            return cls(backend, leading_space=True, added=added)
        return None

    def tokenize(self, texts: Sequence[str]) -> FlatTokens | None:
        """Tokenise each text separately, without special tokens; return ``None`` if the tokenizer must do it."""
        if self._unchecked and texts:
            checked = texts[: self._unchecked]
            self._unchecked -= len(checked)
            self.is_exact = self.is_exact and _same(self._tokenize(checked), self._by_tokenizer(checked))
        return self._tokenize(texts) if self.is_exact else None

    def _tokenize(self, texts: Sequence[str]) -> FlatTokens:
        if len(self._first) + len(self._later) > MAX_WORDS or len(self._ids) > MAX_TOKENS:
            self._forget()
        words = [self._words(text) for text in texts]
        n_words = np.fromiter(map(len, words), np.int64, len(words))
        flat = list(chain.from_iterable(words))
        index = self._look_up(flat, offsets_of(n_words)[:-1])
        return self._joined(index, n_words, gap=1 if self._leading_space else 0)

    def _words(self, text: str) -> list[str]:
        """Cut a text into words that can be tokenised separately: at spaces and, for BERT, at ASCII punctuation.

        Together, the words are the whole text; with ``leading_space``, one space between each two is left out.
        """
        if self._goes_whole(text):
            return [text]
        if self._leading_space:
            return [text] if _OTHER_SPACE.search(text) else text.split(" ")
        if text.isascii():
            return _PIECES.split(text)
        # Outside ASCII, a character may combine with the one before it.
        chunks = (_PIECES.split(chunk) if chunk.isascii() else [chunk] for chunk in _SPACE.split(text))
        return list(chain.from_iterable(chunks))

    def _goes_whole(self, text: str) -> bool:
        """Return whether a text cannot be cut into words: it contains control characters or an added token."""
        if not text.isprintable() and _JOINING.search(text):
            return True
        return any(start in text for start in self._added_begin) and self._added.search(text) is not None

    def _look_up(self, flat: list[str], first: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the index of each word in the memory, after learning new words: ``(words,)``.

        :param first: ``(texts,)``: index in ``flat`` of the first word of each text, which follows no space
        """
        if not self._leading_space:
            return self._places(self._first, flat, behind=False)
        begins = np.zeros(len(flat), dtype=bool)
        begins[first] = True
        index = np.empty(len(flat), dtype=np.int64)
        for memory, chosen, behind in ((self._first, begins, False), (self._later, ~begins, True)):
            words = [flat[place] for place in np.flatnonzero(chosen).tolist()]
            index[chosen] = self._places(memory, words, behind=behind)
        return index

    def _places(self, memory: dict[str, int], words: list[str], *, behind: bool) -> NDArray[np.int64]:
        """Return the index of each word in one of the two memories, after learning new words: ``(words,)``."""
        index = np.fromiter(map(memory.get, words, repeat(-1)), np.int64, len(words))
        new = np.flatnonzero(index < 0).tolist()
        if new:
            self._learn(memory, {words[place] for place in new}, behind=behind)
            index[new] = [memory[words[place]] for place in new]
        return index

    def _learn(self, memory: dict[str, int], new: set[str], *, behind: bool) -> None:
        """Tokenise words and remember their tokens.

        :param behind: whether they follow a space; the first of a text then follows the placeholder ``a``
        """
        alone = [] if behind else sorted(word for word in new if self._stands_alone(word))
        learned = [(alone, _flat(self._backend.encode_batch(alone, add_special_tokens=False)))]
        # Many words are tokenised as one text, because each text has a cost of its own.
        words = sorted(new.difference(alone))
        lead = ["a"] if behind else []
        for first in range(0, len(words), _TEXT_WORDS):
            some = lead + words[first : first + _TEXT_WORDS]
            made = _flat(self._backend.encode_batch([" ".join(some)], add_special_tokens=False))
            starts = offsets_of(np.fromiter(map(len, some), np.int64, len(some)) + 1)[:-1]
            spans = made.offset_mapping
            # A space that is a token of its own belongs to the word after it.
            begins = starts - 1 if behind else starts
            word = np.searchsorted(begins, np.maximum(spans[:, 0], spans[:, 1] - 1), side="right") - 1
            relative = (spans - starts[word][:, None]).astype(np.int32)
            offsets = offsets_of(np.bincount(word, minlength=len(some)))
            cut = offsets[len(lead)]
            tokens = FlatTokens(made.input_ids[cut:], relative[cut:], offsets[len(lead) :] - cut)
            learned.append((some[len(lead) :], tokens))
        self._append(memory, learned)

    def _stands_alone(self, word: str) -> bool:
        """Return whether a word must be tokenised as a text of its own."""
        return self._leading_space or " " in word or self._goes_whole(word)

    def _append(self, memory: dict[str, int], learned: Sequence[tuple[list[str], FlatTokens]]) -> None:
        """Remember words and their tokens; all in one call, because each call copies the memory."""
        words = [word for some, _ in learned for word in some]
        n_tokens = np.concatenate([np.diff(tokens.offsets) for _, tokens in learned])
        first = len(self._boundaries) - 1
        memory.update(zip(words, range(first, first + len(words)), strict=True))
        lengths = np.fromiter(map(len, words), np.int64, len(words))
        self._lengths = np.concatenate([self._lengths, lengths])
        self._boundaries = np.concatenate([self._boundaries, self._boundaries[-1] + np.cumsum(n_tokens)])
        self._ids = np.concatenate([self._ids, *(tokens.input_ids for _, tokens in learned)])
        self._spans = np.concatenate([self._spans, *(tokens.offset_mapping for _, tokens in learned)])

    def _joined(self, index: NDArray[np.int64], n_words: NDArray[np.int64], *, gap: int) -> FlatTokens:
        """Return the tokens of texts, joined from those of their words.

        :param index: ``(words,)``: index of each word in the memory
        :param n_words: ``(texts,)``: number of words of each text
        :param gap: characters between two words of a text
        """
        # Every text has at least one word, which may be empty.
        boundaries = offsets_of(n_words)
        place = offsets_of(self._lengths[index] + gap)[:-1]
        place -= np.repeat(place[boundaries[:-1]], n_words)
        n_tokens = self._boundaries[index + 1] - self._boundaries[index]
        tokens = ranges(self._boundaries[index], n_tokens)
        shift = np.repeat(place, n_tokens).astype(np.int32)
        return FlatTokens(
            input_ids=self._ids[tokens],
            offset_mapping=self._spans[tokens] + shift[:, None],
            offsets=offsets_of(n_tokens)[boundaries],
        )

    def _by_tokenizer(self, texts: Sequence[str]) -> FlatTokens:
        return _flat(self._backend.encode_batch(list(texts), add_special_tokens=False))

    def _forget(self) -> None:
        self._first.clear()
        self._later.clear()
        self._ids = np.empty(0, dtype=np.int32)
        self._spans = np.empty((0, 2), dtype=np.int32)
        self._boundaries = np.zeros(1, dtype=np.int64)
        self._lengths = np.empty(0, dtype=np.int64)


def _flat(encodings: Sequence[Encoding]) -> FlatTokens:
    sizes = np.fromiter(map(len, encodings), np.int64, len(encodings))
    total = int(sizes.sum())
    ids = np.fromiter(chain.from_iterable(encoding.ids for encoding in encodings), np.int32, total)
    spans = chain.from_iterable(chain.from_iterable(encoding.offsets for encoding in encodings))
    return FlatTokens(
        input_ids=ids,
        offset_mapping=np.fromiter(spans, np.int32, 2 * total).reshape(total, 2),
        offsets=offsets_of(sizes),
    )


def _same(one: FlatTokens, other: FlatTokens) -> bool:
    return (
        np.array_equal(one.input_ids, other.input_ids)
        and np.array_equal(one.offset_mapping, other.offset_mapping)
        and np.array_equal(one.offsets, other.offsets)
    )
