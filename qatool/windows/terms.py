"""Search terms for the tokens of a tokenizer's vocabulary, by which passages can be distinguished.

"located" and "Location" are the same term; punctuation and "the" have none. The terms follow from the spelling of
each token and are found once for a vocabulary, so that the texts themselves are not needed.
"""

from __future__ import annotations

import unicodedata
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

NO_TERM = -1
STEM_LETTERS = 5
"""How many letters of a word count; the rest is taken to be its ending."""
_ENGLISH = """
a an and are as at be by did do does for from had has have how in is it its of on or that the their this to was were
what when where which who whom whose why with
"""
FUNCTION_WORDS = frozenset(_ENGLISH.split())
"""English function words and question words, which have no term; there are none for other languages."""
_SPACE_OF_BYTES, _SPACE = "Ġ", "▁"
"""Marks of a token that begins a word, in byte-level and SentencePiece vocabularies."""
_PIECE = "##"
"""Mark of a token that does not begin a word, in WordPiece vocabularies."""
_BROKEN = "\ufffd"
"""Replacement character, to which bytes that are no whole letter are decoded."""
_SAYS_NOTHING = "PSZC"
"""Unicode's categories of punctuation, symbols, spaces and controls."""


def terms_of(
    vocabulary: Mapping[str, int], *, of_bytes: bool = False, special: Collection[int] = ()
) -> NDArray[np.int64]:
    """Return the term of each token id: ``(highest id + 1,)``, ``NO_TERM`` for tokens without one.

    Tokens of similar spelling have the same term, whose number is the lowest of their ids. Case does not count. In
    words of letters that have upper and lower case, only the first ``STEM_LETTERS`` count; WordPiece's pieces count
    whole.

    :param vocabulary: ids by token, as returned by ``get_vocab`` of a tokenizer
    :param of_bytes: whether the characters of tokens stand for bytes, as in RoBERTa's vocabulary
    :param special: ids of special tokens, the unknown token included, which have no term
    """
    from tokenizers.decoders import ByteLevel

    decoder = ByteLevel()
    terms = np.arange(max(vocabulary.values(), default=-1) + 1)
    mark = _SPACE_OF_BYTES if of_bytes else _SPACE if any(token[:1] == _SPACE for token in vocabulary) else ""
    first: dict[str, int] = {}
    for token, number in sorted(vocabulary.items(), key=itemgetter(1)):
        word = token.lstrip(mark) if mark else token
        spelt = decoder.decode([word]) if of_bytes else word
        # The first word of a text, or one after a quotation mark, has no mark.
        begins = word != token or not mark or spelt[:1].isupper()
        term: str | None = word if _BROKEN in spelt else _term(spelt, begins=begins)
        if number in special:
            term = None
        terms[number] = NO_TERM if term is None else first.setdefault(term, number)
    return terms


def _term(spelt: str, *, begins: bool) -> str | None:
    """Return the spelling by which a token counts, ``None`` if it has no term.

    :param begins: whether the token begins a word
    """
    word = spelt.casefold()
    if begins and word in FUNCTION_WORDS:
        return None
    if all(unicodedata.category(letter)[0] in _SAYS_NOTHING for letter in word.removeprefix(_PIECE)):
        return None
    return word[:STEM_LETTERS] if word.isalpha() and word != word.upper() else word
