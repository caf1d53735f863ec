"""A question asked of another context that does not hold its answer.

Source of the idea: Clark and Gardner, "Simple and Effective Multi-Paragraph Reading Comprehension" (2018). The other
context is one that the file holds nearby, for files keep what belongs together together, and of those one that shares
many of the question's words.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from random import Random
from typing import TYPE_CHECKING

from qatool.features.negatives.making import asked_of, plain, plain_answers, unanswerable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from qatool.schema import Example

NEIGHBOURS = 40
"""Distinct contexts, one after the other in the input, among which the other one is found."""
NEAREST = 3
"""One of so many that share most words with the question is drawn."""
_WORD = re.compile(r"\w+")


def with_other_contexts(examples: Iterable[Example], ratio: float, *, seed: int = 0) -> Iterator[Example]:
    """Yield all examples, and for a share of the answerable ones another that asks the same of another context.

    Memory holds the examples of :data:`NEIGHBOURS` contexts.

    :param ratio: examples made for each answerable one, in [0, 1]
    :param seed: the same seed and input make the same examples
    """
    held: list[Example] = []
    contexts: set[str] = set()
    generator = Random(seed)  # noqa: S311 a sample, not a secret
    for example in examples:
        if example.context is not None and example.context not in contexts and len(contexts) == NEIGHBOURS:
            yield from _extended(held, ratio, generator)
            held, contexts = [], set()
        held.append(example)
        if example.context is not None:
            contexts.add(example.context)
    yield from _extended(held, ratio, generator)


def _extended(examples: Sequence[Example], ratio: float, generator: Random) -> Iterator[Example]:
    """Yield neighbouring examples, each followed by the one made of it, if any."""
    block = _Contexts([example for example in examples if example.context and example.error is None])
    for example in examples:
        yield example
        if generator.random() >= ratio:
            continue
        answers = plain_answers(example)
        other = block.other(example, answers, generator) if answers else None
        if other is not None:
            yield unanswerable(example, "other", context=other)


class _Contexts:
    """Neighbouring contexts, and how many words of a question each holds."""

    def __init__(self, examples: Sequence[Example]) -> None:
        texts = dict.fromkeys(example.context or "" for example in examples)
        self._asked = asked_of(examples)
        self._plain = {text: plain(text) for text in texts}
        self._words = {text: frozenset(_WORD.findall(text.lower())) for text in texts}
        found = Counter(word for words in self._words.values() for word in words)
        self._weight = {word: math.log(1 + len(self._words) / count) for word, count in found.items()}

    def other(self, example: Example, answers: Sequence[str], generator: Random) -> str | None:
        """Return another context that holds none of the answers and is not asked the same, ``None`` without one.

        :param answers: plain
        """
        question = plain(example.question or "")
        asked = set(_WORD.findall((example.question or "").lower()))
        ranked = sorted(
            (text for text in self._words if text != example.context),
            # Exact: words come in another order in every process.
            key=lambda text: -math.fsum(self._weight[word] for word in asked & self._words[text]),
        )
        free = (
            text
            for text in ranked
            if (question, text) not in self._asked and not any(answer in self._plain[text] for answer in answers)
        )
        nearest = [text for text, _ in zip(free, range(NEAREST), strict=False)]
        return generator.choice(nearest) if nearest else None
