"""Questions that their context does not answer: altered ones, and contexts without the sentences of the answer.

A question is altered in one place, as people do who write unanswerable ones: another number, another name, a word
that says the opposite, or a negation. What stands in its place comes from the context or from others of the article.
"""

from __future__ import annotations

import re
from collections import defaultdict
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from common import read_articles

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


class Shares(NamedTuple):
    """Of the answerable questions of a file, how many are altered and how many asked of less context."""

    altered: float
    without_answer: float


SHARES = {
    "squad1.1-train-44-articles.json": Shares(0.45, 0.25),
    "squad1.1-dev-part-a-train.json": Shares(0.7, 0.4),
    "squadshifts-new-wikipedia.json": Shares(0.35, 0.2),
    "tydiqa-en-train.json": Shares(0.1, 0.2),
}
"""By file, in the order in which they are made: one generator of random numbers serves them all."""
OTHERS = 4
"""Contexts of the article, drawn for each question, whose names and numbers may stand in it, too."""
OWN_NAMES = 0.6
"""How often a name comes from the question's own context, where that has one."""
NEGATED = 0.25
"""How often "not" is a choice, where it can be."""
LEFT_ALONE = 0.3
"""How often a word that is mostly used in another sense is not taken for one that has an opposite."""
LEAST_CONTEXT = 150
"""Characters that are left at least of a context without its answer."""
_FIRST_NUMBERS = 12
"""Numbers that one is drawn from, at most."""
_YEARS = (-30, -12, -7, -3, 4, 9, 21)
"""From a year to those that may stand in its place even if no context has them."""
_NUMBER = re.compile(r"(?<![\w.,])\d(?:[\d,]*\d)?(?:\.\d+)?(?!\w)")
_NAME = re.compile(
    r"[A-Z][\w'’.-]*\w"
    r"(?:\s+(?:of|the|de|von|van|and|[A-Z][\w'’.-]*\w))*"
    r"(?<!\sof)(?<!\sthe)(?<!\sand)(?<!\sde)"
)
_VERB = re.compile(r"\b(did|does|do|was|is|were|are|can|could|would|will|has|had|have)\b(?=\s+\w+\s+\w+)")
_NOT = {"did": "didn't", "does": "doesn't", "do": "don't"}
_SENTENCE_END = re.compile(r'(?<=[.!?])["”)]?\s+(?=[A-Z"“(])')
_PLAIN_WORD = re.compile(r"[A-Za-z]+")
_NO_NAMES = frozenset(
    _PLAIN_WORD.findall(
        "what who when where which why how whose whom name in the a an at on of for to by from with did is was are "
        "were does do if as after before during along besides according"
    )
)
"""Words that have a capital only because a question begins with them."""
_OFTEN_OTHERWISE = frozenset(["more", "most", "left", "like", "before", "after", "over", "under"])
# Not the list of ``--altered-questions``, which grew out of this one: what is made here shall stay the same.
_PAIRS = """
first last; highest lowest; largest smallest; biggest smallest; most least; more less; more fewer; before after
north south; northern southern; east west; eastern western; early late; earlier later; earliest latest; begin end
began ended; start end; started ended; start stop; started stopped; beginning end; increase decrease
increased decreased; increases decreases; rise fall; rose fell; win lose; won lost; winning losing; old new
oldest newest; older newer; older younger; oldest youngest; long short; longest shortest; longer shorter; high low
higher lower; large small; larger smaller; major minor; good bad; best worst; better worse; positive negative
male female; men women; man woman; father mother; son daughter; brother sister; husband wife; king queen; buy sell
bought sold; accept reject; accepted rejected; support oppose; supported opposed; supports opposes; agree disagree
agreed disagreed; allow forbid; allowed forbidden; allowed prohibited; include exclude; included excluded
above below; over under; inside outside; internal external; public private; rich poor; strong weak
strongest weakest; common rare; always never; arrive leave; arrived left; joined left; join leave; open close
opened closed; built destroyed; build destroy; created destroyed; founded dissolved; born died; birth death
gain lose; gained lost; attack defend; attacked defended; friend enemy; allies enemies; legal illegal; able unable
possible impossible; successful unsuccessful; success failure; like dislike; love hate; present absent; past future
ancient modern; domestic foreign; local global; national international; upper lower; top bottom; left right
summer winter; day night; morning evening; heavy light; hot cold; fast slow; fastest slowest; expensive cheap
majority minority; teacher student; students teachers; offense defense; offensive defensive; home away
import export; imported exported; employer employee; cause prevent; caused prevented; causes prevents
require prohibit; required prohibited; raise lower; raised lowered; expand shrink; expanded shrank; hired fired
appointed dismissed; elected defeated; victory defeat; lead follow; led followed; teach learn; taught learned
send receive; sent received; give take; gave took; live die; lived died; known unknown; popular unpopular
primary secondary; similar different; same different; wet dry; hard soft; thick thin; deep shallow; urban rural
simple complex; natural artificial; permanent temporary; maximum minimum; remained left; named renamed
approved rejected; passed rejected; ratified rejected; protect harm; helped hindered; encourage discourage
encouraged discouraged; written read; produce consume; produced consumed; ally enemy; religious secular
civilian military; protestant catholic
"""


def _by_word(pairs: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for pair in pairs.strip().replace("\n", ";").split(";"):
        one, other = pair.split()
        found[one].append(other)
        found[other].append(one)
    return dict(found)


_OPPOSITES = _by_word(_PAIRS)


class _Found(NamedTuple):
    start: int
    end: int
    text: str


class _Edit(NamedTuple):
    kind: str
    place: _Found
    text: str


def altered_files(data: Path, *, seed: int = 5) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the name of each file of :data:`SHARES` and the articles made of it.

    :param data: folder with the files
    """
    dice = Random(seed)
    for name, shares in SHARES.items():
        yield name, [altered_article(article, shares, dice) for article in read_articles(data / name)]


def altered_article(article: dict[str, Any], shares: Shares, dice: Random) -> dict[str, Any]:
    """Return an article of unanswerable questions, made of some of the answerable ones of another."""
    contexts = [paragraph["context"] for paragraph in article["paragraphs"]]
    paragraphs = []
    for paragraph in article["paragraphs"]:
        context = paragraph["context"]
        questions, shortened = [], []
        for asked in paragraph["qas"]:
            if asked.get("is_impossible") or not asked["answers"]:
                continue
            answers = list(dict.fromkeys(answer["text"] for answer in asked["answers"]))
            if dice.random() < shares.altered:
                others = dice.sample(contexts, min(OTHERS, len(contexts)))
                question = altered_question(asked["question"].strip(), context, answers, others, dice)
                if question is not None:
                    questions.append(_unanswerable(f"{asked['id']}#alt", question))
            if dice.random() < shares.without_answer:
                rest = without_answer(context, answers)
                if rest is not None:
                    shortened.append(
                        {"context": rest, "qas": [_unanswerable(f"{asked['id']}#del", asked["question"])]}
                    )
        if questions:
            paragraphs.append({"context": context, "qas": questions})
        paragraphs += shortened
    return {"title": article.get("title", ""), "paragraphs": paragraphs}


def _unanswerable(name: str, question: str) -> dict[str, Any]:
    return {"id": name, "question": question, "answers": [], "is_impossible": True}


def altered_question(question: str, context: str, answers: list[str], others: list[str], dice: Random) -> str | None:
    """Return a question that its context does not answer any more, ``None`` where nothing in it can be altered.

    :param answers: what comes from a context into the question is no part of these
    :param others: contexts that may also lend names and numbers
    """
    edits = [
        *_other_numbers(question, context, answers, others, dice),
        *_other_names(question, context, answers, others, dice),
        *_opposites(question, dice),
        *_negations(question, dice),
    ]
    if not edits:
        return None
    kind = dice.choice(sorted({edit.kind for edit in edits}))
    _, place, text = dice.choice([edit for edit in edits if edit.kind == kind])
    return question[: place.start] + text + question[place.end :]


def without_answer(context: str, answers: list[str]) -> str | None:
    """Return a context without the sentences that contain an answer, ``None`` where too little is left."""
    sentences = list(_sentences(context))
    kept = [one for one in sentences if not any(answer.lower() in one.lower() for answer in answers)]
    if len(kept) == len(sentences) or len(kept) < 2 or sum(map(len, kept)) < LEAST_CONTEXT:
        return None
    return "".join(kept).strip()


def _other_numbers(
    question: str, context: str, answers: list[str], others: list[str], dice: Random
) -> Iterator[_Edit]:
    lent = list(dict.fromkeys(number.text for text in (context, *others) for number in _numbers(text)))
    for number in _numbers(question):
        shape = _shape(number.text)
        choice = [one for one in lent if one != number.text and _shape(one) == shape]
        choice = [one for one in choice if not any(one in answer for answer in answers)]
        if shape == "year":
            choice += [str(int(number.text.replace(",", "")) + years) for years in _YEARS]
        if choice:
            yield _Edit("number", number, dice.choice(choice[:_FIRST_NUMBERS]))


def _other_names(question: str, context: str, answers: list[str], others: list[str], dice: Random) -> Iterator[_Edit]:
    taken = [answer.lower() for answer in answers]

    def lent(texts: Iterable[str]) -> list[str]:
        names = dict.fromkeys(name.text for text in texts for name in _names(text))
        new = [one for one in names if one.lower() not in question.lower()]
        return [one for one in new if not any(one.lower() in answer or answer in one.lower() for answer in taken)]

    own, foreign = lent([context]), lent(others)
    for name in _names(question):
        words = set(name.text.lower().split())
        near, far = ([one for one in names if not words & set(one.lower().split())] for names in (own, foreign))
        pool = near if dice.random() < OWN_NAMES and near else far
        size = len(name.text.split())
        pool = [one for one in pool if abs(len(one.split()) - size) <= 1] or pool
        if pool:
            yield _Edit("name", name, dice.choice(pool))


def _opposites(question: str, dice: Random) -> Iterator[_Edit]:
    for match in _PLAIN_WORD.finditer(question):
        word = match[0]
        if word not in _OPPOSITES or (word in _OFTEN_OTHERWISE and dice.random() < LEFT_ALONE):
            continue
        yield _Edit("antonym", _Found(*match.span(), word), dice.choice(_OPPOSITES[word]))


def _negations(question: str, dice: Random) -> Iterator[_Edit]:
    match = _VERB.search(question)
    if match and dice.random() < NEGATED:
        verb = match[0]
        yield _Edit("negation", _Found(*match.span(), verb), _NOT.get(verb, f"{verb} not"))


def _numbers(text: str) -> Iterator[_Found]:
    for match in _NUMBER.finditer(text):
        yield _Found(*match.span(), match[0])


def _shape(number: str) -> str:
    """Return what a number has in common with those that might stand in its place."""
    digits = number.replace(",", "")
    if "." in digits:
        return "decimal"
    if len(digits) == 4 and digits[0] in "12":
        return "year"
    return f"{min(len(digits), 5)} digits"


def _names(text: str) -> Iterator[_Found]:
    """Yield runs of words with a capital; a single one that begins a sentence is none."""
    for match in _NAME.finditer(text):
        name = match[0]
        before = text[: match.start()].rstrip()
        begins = not before or before[-1] in '.?!"“('
        if begins and " " not in name:
            continue
        first, *rest = name.split(maxsplit=1)
        if first.lower() in _NO_NAMES:
            if not rest or not rest[0][0].isupper():
                continue
            name = rest[0]
        start = match.end() - len(name)
        name = name.removesuffix("'s").removesuffix("’s")
        if len(name) > 2:
            yield _Found(start, start + len(name), name)


def _sentences(text: str) -> Iterator[str]:
    """Yield sentences with the white space after them."""
    start = 0
    for match in _SENTENCE_END.finditer(text):
        yield text[start : match.end()]
        start = match.end()
    yield text[start:]
