"""Unanswerable examples made by asking a question of another context that does not contain its answer.

Source of the idea: Clark and Gardner, "Simple and Effective Multi-Paragraph Reading Comprehension" (2018). The other
context shares many words with the question, and is near its own in the file, where related contexts usually are.
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
"""How many consecutive distinct contexts form a block, within which the other context is chosen."""
NEAREST = 3
"""The other context is drawn from so many that share most words with the question."""
_WORD = re.compile(r"\w+")


def with_other_contexts(examples: Iterable[Example], ratio: float, *, seed: int = 0) -> Iterator[Example]:
    """Yield all examples, and after a share of the answerable ones a copy with another context.

    The examples of :data:`NEIGHBOURS` contexts are in memory at a time.

    :param ratio: examples to make for each answerable one, in [0, 1]
    :param seed: seed of the random choices; the same seed and input give the same examples
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
    """Yield the examples of a block, each followed by the one made from it, if any."""
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
    """The contexts of a block, ranked by the words that they share with a question."""

    def __init__(self, examples: Sequence[Example]) -> None:
        texts = dict.fromkeys(example.context or "" for example in examples)
        self._asked = asked_of(examples)
        self._plain = {text: plain(text) for text in texts}
        self._words = {text: frozenset(_WORD.findall(text.lower())) for text in texts}
        found = Counter(word for words in self._words.values() for word in words)
        self._weight = {word: math.log(1 + len(self._words) / count) for word, count in found.items()}

    def other(self, example: Example, answers: Sequence[str], generator: Random) -> str | None:
        """Return another context without any of the answers, of which the input does not ask the same question.

        :param answers: answers to the question, :func:`plain`
        :returns: ``None`` if there is no such context
        """
        question = plain(example.question or "")
        asked = set(_WORD.findall((example.question or "").lower()))
        ranked = sorted(
            (text for text in self._words if text != example.context),
            # fsum, as the order of words in a set differs from process to process, and with it the rounding of sum.
            key=lambda text: -math.fsum(self._weight[word] for word in asked & self._words[text]),
        )
        free = (
            text
            for text in ranked
            if (question, text) not in self._asked and not any(answer in self._plain[text] for answer in answers)
        )
        nearest = [text for text, _ in zip(free, range(NEAREST), strict=False)]
        return generator.choice(nearest) if nearest else None
