"""A question in which a name, a number or a word is another: its context seems to answer it and does not.

Questions that people wrote to have no answer differ from answerable ones by just that, in most cases: an entity or
number swapped, an antonym, a negation (Rajpurkar et al., "Know What You Don't Know", 2018, table 1). Names are runs
of words with a capital, and the words are English; of questions that have neither, none is made.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from qatool.features.negatives.making import answer_texts, unanswerable
from qatool.features.negatives.opposites import OPPOSITES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from qatool.schema import Example

NEIGHBOURS = 4
"""Contexts before an example's own whose names and numbers may stand in the question, too."""
OWN_NAMES = 0.6
"""How often a name comes from the example's own context, where that has one."""
NEGATED = 0.25
"""How often "not" is a choice, where it can be."""
_YEARS = (-30, -12, -7, -3, 4, 9, 21)
_NUMBER = re.compile(r"(?<![\w.,])\d(?:[\d,]*\d)?(?:\.\d+)?(?!\w)")
_WORD = re.compile(r"[A-Za-z]+")
_NAME = re.compile(r"[^\W\d_a-z][\w'’.-]*\w(?:\s+(?:(?:of|the|de|von|van|and)\s+)*[^\W\d_a-z][\w'’.-]*\w)*")
_VERB = re.compile(r"\b(did|does|do|was|is|were|are|can|could|would|will|has|had|have)\b(?=\s+\w+\s+\w+)")
_NOT = {"did": "didn't", "does": "doesn't", "do": "don't"}
_NO_NAMES = frozenset(
    _WORD.findall(
        "what who when where which why how whose whom in the a an at on of for to by from did is was are were does "
        "do if as after before during along with besides according name"
    )
)
"""Words that have a capital only because a sentence begins with them."""


@dataclass(frozen=True)
class _Found:
    start: int
    end: int
    text: str


@dataclass(frozen=True)
class _Change:
    """What a question is altered by: ``text`` at ``start:end``."""

    kind: str
    start: int
    end: int
    text: str


def with_altered_questions(examples: Iterable[Example], ratio: float, *, seed: int = 0) -> Iterator[Example]:
    """Yield all examples, and for a share of the answerable ones another whose question is altered.

    :param ratio: examples made for each answerable one, in [0, 1]
    :param seed: the same seed and input make the same examples
    """
    generator = Random(seed)  # noqa: S311 a sample, not a secret
    before: deque[str] = deque(maxlen=NEIGHBOURS)
    last: str | None = None
    for example in examples:
        yield example
        if example.context and example.context != last:
            if last is not None:
                before.append(last)
            last = example.context
        if generator.random() >= ratio:
            continue
        texts = answer_texts(example)
        question = altered(example.question or "", example.context or "", texts, before, generator) if texts else None
        if question is not None:
            yield unanswerable(example, "altered", question=question)


def altered(
    question: str, context: str, answers: Sequence[str], others: Iterable[str], generator: Random
) -> str | None:
    """Return a question that its context does not answer any more, ``None`` where nothing in it can be altered.

    :param answers: no name or number of these comes into the question
    :param others: contexts that may also lend names and numbers
    """
    changes = [
        *_other_numbers(question, context, answers, others, generator),
        *_other_names(question, context, answers, others, generator),
        *_opposites(question, generator),
        *_negations(question, generator),
    ]
    if not changes:
        return None
    kind = generator.choice(sorted({change.kind for change in changes}))
    change = generator.choice([one for one in changes if one.kind == kind])
    return question[: change.start] + change.text + question[change.end :]


def _other_numbers(
    question: str, context: str, answers: Sequence[str], others: Iterable[str], generator: Random
) -> Iterator[_Change]:
    """Yield another number of like shape for each in the question."""
    asked = list(_numbers(question))
    if not asked:
        return
    there = dict.fromkeys(number.text for text in (context, *others) for number in _numbers(text))
    for number in asked:
        shape = _shape(number.text)
        fitting = [one for one in there if one != number.text and _shape(one) == shape]
        if shape == "year":
            fitting += [str(int(number.text) + years) for years in _YEARS]
        fitting = [one for one in fitting if not any(one in answer for answer in answers)]
        if fitting:
            yield _Change("number", number.start, number.end, generator.choice(fitting))


def _other_names(
    question: str, context: str, answers: Sequence[str], others: Iterable[str], generator: Random
) -> Iterator[_Change]:
    """Yield another name for each in the question, one of about as many words if there is one."""
    asked = list(_names(question))
    if not asked:
        return
    known = question.lower()

    def fits(name: str) -> bool:
        small = name.lower()
        return small not in known and not any(small in answer or answer in small for answer in lowered)

    lowered = [answer.lower() for answer in answers]
    own = list(dict.fromkeys(name.text for name in _names(context) if fits(name.text)))
    other = list(dict.fromkeys(name.text for text in others for name in _names(text) if fits(name.text)))
    for name in asked:
        words = frozenset(name.text.lower().split())
        pools = [[one for one in pool if not words & frozenset(one.lower().split())] for pool in (own, other)]
        pool = pools[0] if pools[0] and generator.random() < OWN_NAMES else pools[1] or pools[0]
        alike = [one for one in pool if abs(len(one.split()) - len(words)) <= 1] or pool
        if alike:
            yield _Change("name", name.start, name.end, generator.choice(alike))


def _opposites(question: str, generator: Random) -> Iterator[_Change]:
    """Yield the opposite of each word that has one."""
    for word in _WORD.finditer(question):
        opposites = OPPOSITES.get(word[0])
        if opposites:
            yield _Change("opposite", *word.span(), generator.choice(opposites))


def _negations(question: str, generator: Random) -> Iterator[_Change]:
    """Yield the first auxiliary verb with "not", at times."""
    verb = _VERB.search(question)
    if verb is not None and generator.random() < NEGATED:
        yield _Change("negation", *verb.span(), _NOT.get(verb[0], f"{verb[0]} not"))


def _numbers(text: str) -> Iterator[_Found]:
    for number in _NUMBER.finditer(text):
        yield _Found(*number.span(), number[0])


def _shape(number: str) -> str:
    """Return what a number has in common with those that might stand in its place."""
    if "." in number:
        return "decimal"
    if re.fullmatch(r"[12]\d{3}", number):
        return "year"
    return f"{min(sum(one.isdigit() for one in number), 5)} digits"


def _names(text: str) -> Iterator[_Found]:
    """Yield runs of words with a capital; a single one that begins a sentence is none."""
    for name in _NAME.finditer(text):
        start, end = name.span()
        before = text[max(0, start - 3) : start].rstrip()
        begins = not before or before[-1] in '.!?“"('
        words = name[0].split()
        if words[0].lower() in _NO_NAMES:
            if len(words) == 1:
                continue
            start += name[0].index(words[1], len(words[0]))
        elif begins and len(words) == 1:
            continue
        found = re.sub(r"['’]s$", "", text[start:end])
        if len(found) > 2 and found[0].isupper():
            yield _Found(start, start + len(found), found)
