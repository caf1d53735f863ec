"""SQuAD's measures of an answer: normalisation, exact match and F1, as in the official evaluation.

Source: Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text" (2016), section 6, and the
behaviour of the official evaluation scripts 1.1 and 2.0.
"""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """Return ``text`` in lower case without ASCII punctuation, English articles and superfluous white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, reference: str) -> float:
    """Return 1.0 if both texts are equal after normalisation, else 0.0."""
    return float(normalize(answer) == normalize(reference))


def f1(answer: str, reference: str) -> float:
    """Return the harmonic mean of precision and recall of the answer's words; 1.0 if both texts are empty."""
    found, expected = normalize(answer).split(), normalize(reference).split()
    if not found or not expected:
        return float(found == expected)
    return word_f1(found, expected)


def word_f1(found: Sequence[str], expected: Sequence[str]) -> float:
    """Return the harmonic mean of precision and recall of words, counted with repetitions; 0.0 if none is shared."""
    left: dict[str, int] = {}  # for answers of a few words, a Counter takes six times as long
    for word in expected:
        left[word] = left.get(word, 0) + 1
    shared = 0
    for word in found:
        if left.get(word):
            left[word] -= 1
            shared += 1
    if not shared:
        return 0.0
    precision, recall = shared / len(found), shared / len(expected)
    return 2 * precision * recall / (precision + recall)


def best(measure: str, answer: str | None, references: Iterable[str]) -> float:
    """Return the best ``exact_match`` or ``f1`` over all references; without references, "no answer" is right.

    :param measure: ``exact_match`` or ``f1``
    :param answer: ``None`` or empty for "no answer"
    """
    compare = {"exact_match": exact_match, "f1": f1}[measure]
    expected = [text for text in references if normalize(text)] or [""]
    return max(compare(answer or "", text) for text in expected)
