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
    from collections.abc import Mapping

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
_WORD_BEGINS = "Ġ▁"
_WORD_GOES_ON = "##"
_SAYS_NOTHING = "PSZC"
"""Unicode's categories of punctuation, symbols, spaces and controls."""


def terms_of(vocabulary: Mapping[str, int]) -> NDArray[np.int64]:
    """Return the term that each token stands for: ``(highest id + 1,)``, ``NO_TERM`` where it says nothing.

    A term goes by the lowest id of its tokens. Case counts for nothing, nor does what follows the first
    ``STEM_LETTERS`` letters of a word in a script that has upper and lower case.

    :param vocabulary: ids by token, as ``get_vocab`` of a tokenizer gives them
    """
    terms = np.arange(max(vocabulary.values(), default=-1) + 1)
    of_bytes = any(token.startswith("Ġ") for token in vocabulary)
    first: dict[str, int] = {}
    for token, number in sorted(vocabulary.items(), key=itemgetter(1)):
        term = _term(token, of_bytes=of_bytes)
        terms[number] = NO_TERM if term is None else first.setdefault(term, number)
    return terms


def _term(token: str, *, of_bytes: bool) -> str | None:
    """Return what is left of a token, ``None`` where nothing is.

    :param of_bytes: letters beyond ASCII stand for bytes, so their case and kind mean nothing
    """
    word = token.lstrip(_WORD_BEGINS)
    if of_bytes and not word.isascii():
        return token
    word = word.casefold()
    spelt = word.removeprefix(_WORD_GOES_ON)
    if word in FUNCTION_WORDS or all(unicodedata.category(letter)[0] in _SAYS_NOTHING for letter in spelt):
        return None
    has_case = word != word.upper()
    return word[:STEM_LETTERS] if has_case and word.isalpha() else word
