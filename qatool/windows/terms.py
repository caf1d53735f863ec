"""What of a tokenizer's vocabulary tells one passage from another: tokens as terms of a search.

"located" and "Location" are one term, punctuation and "the" are none. Told by rules on the spelling of each token,
once for a vocabulary, so that texts are never looked at again.
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
"""Letters of a word that count; what follows is taken for its ending."""
_ENGLISH = """
a an and are as at be by did do does for from had has have how in is it its of on or that the their this to was were
what when where which who whom whose why with
"""
FUNCTION_WORDS = frozenset(_ENGLISH.split())
"""Words that stand everywhere, and those that ask; of other languages none are known."""
_SPACE_OF_BYTES, _SPACE = "Ġ", "▁"
"""How a token that begins a word is marked, in vocabularies of bytes and of SentencePiece."""
_PIECE = "##"
"""How one that does not is, in those of WordPiece."""
_BROKEN = "\ufffd"
"""What bytes that are no whole letter are decoded to."""
_SAYS_NOTHING = "PSZC"
"""Unicode's categories of punctuation, symbols, spaces and controls."""


def terms_of(
    vocabulary: Mapping[str, int], *, of_bytes: bool = False, special: Collection[int] = ()
) -> NDArray[np.int64]:
    """Return the term that each token stands for: ``(highest id + 1,)``, ``NO_TERM`` where it says nothing.

    Tokens of like spelling are one term, which goes by the lowest of their ids. Case does not count, nor, in a word
    of letters that have upper and lower case, what follows the first ``STEM_LETTERS``. WordPiece's pieces stay whole.

    :param vocabulary: ids by token, as ``get_vocab`` of a tokenizer gives them
    :param of_bytes: its letters stand for bytes, as RoBERTa's do
    :param special: ids that no text is made of, and the unknown token's
    """
    from tokenizers.decoders import ByteLevel

    decoder = ByteLevel()
    terms = np.arange(max(vocabulary.values(), default=-1) + 1)
    mark = _SPACE_OF_BYTES if of_bytes else _SPACE if any(token[:1] == _SPACE for token in vocabulary) else ""
    first: dict[str, int] = {}
    for token, number in sorted(vocabulary.items(), key=itemgetter(1)):
        word = token.lstrip(mark) if mark else token
        spelt = decoder.decode([word]) if of_bytes else word
        # The first word of a text, or one behind a quotation mark, may do without.
        begins = word != token or not mark or spelt[:1].isupper()
        term: str | None = word if _BROKEN in spelt else _term(spelt, begins=begins)
        if number in special:
            term = None
        terms[number] = NO_TERM if term is None else first.setdefault(term, number)
    return terms


def _term(spelt: str, *, begins: bool) -> str | None:
    """Return what is left of a token, ``None`` where nothing is.

    :param begins: whether it begins a word
    """
    word = spelt.casefold()
    if begins and word in FUNCTION_WORDS:
        return None
    if all(unicodedata.category(letter)[0] in _SAYS_NOTHING for letter in word.removeprefix(_PIECE)):
        return None
    return word[:STEM_LETTERS] if word.isalpha() and word != word.upper() else word
