"""Short contexts: a question with only the sentence of its answer, and now and then one beside it.

A question without an answer keeps the sentence that shares most words with it.
"""

from __future__ import annotations

import re
from random import Random
from typing import TYPE_CHECKING

from common import Example, read_examples

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

SHARES = {
    "squad1.1-train-44-articles.json": 1,
    "squadshifts-new-wikipedia.json": 0.7,
    "squad1.1-dev-part-a-train.json": 1,
    "squad2.0-dev-part-a-train.json": 1,
    "tydiqa-en-train.json": 0.5,
}
"""How many questions of a file are shortened, in the order of the files."""
ALTERED_SHARES = {
    "squad1.1-train-44-articles.json": 0.5,
    "squad1.1-dev-part-a-train.json": 0.7,
    "squadshifts-new-wikipedia.json": 0.5,
    "tydiqa-en-train.json": 0.4,
}
"""Likewise, of the unanswerable questions that were made of a file."""
LEAST_SENTENCE = 25
"""Characters of a sentence at least: what is shorter belongs to the next, since many an abbreviation ends so."""
MOST_CONTEXT = 900
"""Characters of a short context at most."""
_BESIDE = (0, 0, 0, 1)
"""Sentences before, and after, that come along."""
_SENTENCE_END = re.compile(r'(?<=[.!?])["”’)\]]*\s+(?=[A-Z"“(\d])|\n+')
_WORD = re.compile(r"\w+")


def short_examples(sources: Iterable[tuple[Path, float]], *, seed: int = 77) -> Iterator[Example]:
    """Yield examples with short contexts.

    :param sources: nested SQuAD files, each with the share of its questions that is drawn
    """
    dice = Random(seed)
    for path, share in sources:
        for example in read_examples(path):
            if dice.random() < share:
                shortened = _shortened(example, dice)
                if shortened is not None:
                    yield shortened


def _shortened(example: Example, dice: Random) -> Example | None:
    """Return an example with a part of its context, ``None`` where no part is fit."""
    sentences = _sentences(example.context)
    if len(sentences) < 2:
        return None
    if example.answers:
        number = _answering(sentences, *dice.choice(example.answers))
    else:
        number = _most_alike(sentences, example, dice)
    if number is None:
        return None
    first = max(number - dice.choice(_BESIDE), 0)
    last = min(number + dice.choice(_BESIDE), len(sentences) - 1)
    start, end = sentences[first][0], sentences[last][1]
    if end - start > MOST_CONTEXT:
        return None
    kept = [(text, at - start) for text, at in example.answers if start <= at and at + len(text) <= end]
    return Example(example.question, example.context[start:end], tuple(kept))


def _sentences(context: str) -> list[tuple[int, int]]:
    """Return where each sentence starts and ends, without the white space between."""
    sentences = []
    start = 0
    for match in _SENTENCE_END.finditer(context):
        if match.start() - start >= LEAST_SENTENCE:
            sentences.append((start, match.start()))
            start = match.end()
    return [*sentences, (start, len(context))]


def _answering(sentences: list[tuple[int, int]], answer: str, at: int) -> int | None:
    """Return the number of the sentence that holds a whole answer, ``None`` if no single one does."""
    holding = (n for n, (start, end) in enumerate(sentences) if start <= at and at + len(answer) <= end)
    return next(holding, None)


def _most_alike(sentences: list[tuple[int, int]], example: Example, dice: Random) -> int:
    """Return the number of the sentence that shares most words with the question, at random among equals."""
    asked = _words(example.question)
    shared = [
        len(asked & _words(example.context[start:end])) + dice.random() / 2  # counts for less than a word
        for start, end in sentences
    ]
    return shared.index(max(shared))


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))
