"""Unanswerable questions made by replacing a name, a number or a word, so that the context only seems to answer them.

Most unanswerable questions that people write differ from answerable ones in this way: a swapped entity or number, an
antonym, a negation (Rajpurkar et al., "Know What You Don't Know", 2018, table 1). Names are runs of capitalised
words, and the words to replace are English; a question without any of these is not altered.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, islice, pairwise
from operator import attrgetter
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from qatool.features.negatives.making import asked_of, plain, plain_answers, unanswerable
from qatool.features.negatives.opposites import OPPOSITES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from qatool.schema import Example

NEIGHBOURS = 4
"""How many contexts before the example's own may lend names and numbers to the question, too."""
HELD = 1_000
"""Most consecutive questions about one context that are in memory together."""
OWN_NAMES = 0.6
"""Probability that a name is taken from the example's own context, if that has a fitting one."""
NEGATED = 0.25
"""Probability that inserting "not" is considered, if there is a place for it."""
_TRIED = 4
"""How many names (or numbers, or words) of a question are tried before the next kind."""
_ALIKE = 4
"""Two words that begin with the same letters, so many of them, may be forms of one word."""
_YEARS = (-30, -12, -7, -3, 4, 9, 21)
_NUMBER = re.compile(r"(?<![\w.,])\d(?:[\d,]*\d)?(?:\.\d+)?(?!\w)")
_PLAIN_WORD = re.compile(r"(?<![\w'’-])[A-Za-z]+(?![\w'’-])")
_WORD = re.compile(r"[^\W\d_](?:[\w'’.&-]*\w)?")
_BLANKS = re.compile(r"[ \u00a0]+")
_POSSESSIVE = re.compile(r"['’]s$")
_VERB = re.compile(
    r"\b(did|does|do|was|is|were|are|can|could|would|will|has|had|have)\b(?=\s+(?!not\b|never\b|no\b)\w+\s+\w+)"
)
_NOT = {"did": "didn't", "does": "doesn't", "do": "don't"}
_WITHIN_NAMES = frozenset(_WORD.findall("of the de der von van la du and"))
_NO_NAMES = _WITHIN_NAMES | frozenset(
    _WORD.findall(
        "what who when where which why how whose whom in a an at on for to by from with into did is was are were "
        "does do has have had can could will would should may might must if as after before during along besides "
        "but or so yet although though while since because until unless under over between through despite unlike "
        "like about once then both some many most all no it its he his she her they their we our you your i my "
        "this that these those there here according name"
    )
)
"""Words that are capitalised only at the beginning of a sentence, and so begin no name."""


class _Found(NamedTuple):
    start: int
    end: int
    text: str


@dataclass(frozen=True)
class _Lender:
    """A context that can lend names and numbers to a question."""

    text: str

    @cached_property
    def names(self) -> list[str]:
        return list(dict.fromkeys(name.text for name in _names(self.text)))

    @cached_property
    def numbers(self) -> list[str]:
        return list(dict.fromkeys(number.text for number in _numbers(self.text)))


def with_altered_questions(examples: Iterable[Example], ratio: float, *, seed: int = 0) -> Iterator[Example]:
    """Yield all examples, and after a share of the answerable ones a copy with an altered question.

    :param ratio: examples to make for each answerable one, in [0, 1]
    :param seed: seed of the random choices; the same seed and input give the same examples
    """
    generator = Random(seed)  # noqa: S311 a sample, not a secret
    before: deque[_Lender] = deque(maxlen=NEIGHBOURS)
    own = _Lender("")
    for held in _of_one_context(examples):
        context, asked = held[0].context, asked_of(held)
        if context and context != own.text:
            if own.text:
                before.append(own)
            own = _Lender(context)
        for example in held:
            yield example
            if generator.random() >= ratio:
                continue
            answers = plain_answers(example)
            question = _altered(example.question or "", answers, own, before, generator) if answers else None
            if question is not None and (plain(question), context) not in asked:
                yield unanswerable(example, "altered", question=question)


def _of_one_context(examples: Iterable[Example]) -> Iterator[list[Example]]:
    """Yield runs of consecutive examples with the same context, at most :data:`HELD` in each."""
    for _, group in groupby(examples, key=attrgetter("context")):
        while held := list(islice(group, HELD)):
            yield held


def altered(
    question: str, context: str, answers: Sequence[str], others: Iterable[str], generator: Random
) -> str | None:
    """Return the question altered so that its context no longer answers it, ``None`` if nothing can be altered.

    :param answers: answers to the question; neither their numbers nor names that share a word with them are used
    :param others: further contexts that may lend names and numbers
    :param generator: source of the random choices
    """
    lenders = [_Lender(text) for text in others]
    return _altered(question, [plain(answer) for answer in answers], _Lender(context), lenders, generator)


def _altered(
    question: str, answers: Sequence[str], own: _Lender, others: Iterable[_Lender], generator: Random
) -> str | None:
    numbers = list(_numbers(question))
    names = [] if question.isupper() else list(_names(question))
    words = [_Found(*word.span(), word[0]) for word in _PLAIN_WORD.finditer(question) if word[0] in OPPOSITES]
    verb = _VERB.search(question) if generator.random() < NEGATED else None
    asked = {_value(number.text) for number in numbers}

    def another_number(number: _Found) -> list[str]:
        lent = dict.fromkeys(one for lender in (own, *others) for one in lender.numbers)
        if _shape(number.text) == "year":
            lent |= dict.fromkeys(str(int(number.text) + years) for years in _YEARS)
        alike = [one for one in lent if _shape(one) == _shape(number.text) and _value(one) not in asked]
        return [one for one in alike if not any(one in answer or answer in one for answer in answers)]

    def another_name(name: _Found) -> list[str]:
        taken = [*plain(question).split(), *(word for answer in answers for word in answer.split())]
        heads = {word[:_ALIKE] for word in taken if len(word) >= _ALIKE} | set(taken)
        pools = [
            [one for one in lent if not any({word, word[:_ALIKE]} & heads for word in plain(one).split())]
            for lent in (own.names, [one for lender in others for one in lender.names])
        ]
        pool = pools[0] if pools[0] and generator.random() < OWN_NAMES else pools[1] or pools[0]
        size = len(name.text.split())
        return [one for one in pool if abs(len(one.split()) - size) <= 1] or pool

    ways: list[tuple[list[_Found], Callable[[_Found], Sequence[str]]]] = [
        (numbers, another_number),
        (names, another_name),
        (words, lambda word: OPPOSITES[word.text]),
        ([_Found(*verb.span(), verb[0])] if verb else [], lambda word: [_NOT.get(word.text, f"{word.text} not")]),
    ]
    ways = [(places, fitting) for places, fitting in ways if places]
    for places, fitting in generator.sample(ways, len(ways)):
        for place in generator.sample(places, min(len(places), _TRIED)):
            choice = fitting(place)
            if choice:
                return question[: place.start] + generator.choice(choice) + question[place.end :]
    return None


def _numbers(text: str) -> Iterator[_Found]:
    for number in _NUMBER.finditer(text):
        yield _Found(*number.span(), number[0])


def _value(number: str) -> float:
    return float(number.replace(",", ""))


def _shape(number: str) -> str:
    """Return the kind of a number; a number is replaced only by one of the same kind."""
    if "." in number:
        return "decimal"
    if re.fullmatch(r"[12]\d{3}", number):
        return "year"
    return f"{min(sum(one.isdigit() for one in number), 5)} digits"


def _names(text: str) -> Iterator[_Found]:
    """Yield names: runs of capitalised words on one line, except a single word at the beginning of a sentence."""
    run: list[_Found] = []
    for word in _words_and_breaks(text):
        if word is not None and (word.text[0].isupper() or (run and word.text in _WITHIN_NAMES)):
            run.append(word)
            if not _POSSESSIVE.search(word.text):
                continue
        yield from _name(run, text)
        run = []
    yield from _name(run, text)


def _words_and_breaks(text: str) -> Iterator[_Found | None]:
    """Yield words, and ``None`` between two words that are separated by more than blanks."""
    words = (_Found(*word.span(), word[0]) for word in _WORD.finditer(text))
    for last, word in pairwise([_Found(0, 0, ""), *words]):
        if last.text and not _BLANKS.fullmatch(text, last.end, word.start):
            yield None
        yield word


def _name(run: list[_Found], text: str) -> Iterator[_Found]:
    """Yield the name in a run of words, if it contains one."""
    first, last = 0, len(run)
    while last and run[last - 1].text in _WITHIN_NAMES:
        last -= 1
    while first < last and _POSSESSIVE.sub("", run[first].text).lower() in _NO_NAMES:
        first += 1
    if first >= last:
        return
    start = run[first].start
    before = text[max(0, start - 3) : start].rstrip()
    begins = not first and (not before or before[-1] in '.!?:“"(')
    name = _POSSESSIVE.sub("", text[start : run[last - 1].end])
    if len(name) > 2 and not (begins and last == 1) and run[first].text[0].isupper():
        yield _Found(start, start + len(name), name)
