"""Questions with another question word: "When did she leave?" becomes "Why did she leave?", and has no answer.

Such a question is made only where nothing in the short context looks like its answer: no "because" for "why", no
"by" for "how". What begins with "what" or "who" names its answer instead: "Who did she meet?" becomes "Where did she
meet Tom?".
"""

from __future__ import annotations

import re
from random import Random
from typing import TYPE_CHECKING

from common import Example

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LONGEST_NAMED = 6
"""Words of an answer that is named in the question, at most."""
_DO = ("did", "do", "does")
_THINGS = ("what", "who", "whom")
_VERBS = "did do does is was were are has have had can could will would may might must should"
_QUESTION = re.compile(
    r"(Where|When|Why|How|In what (?:year|city|country|month|state)|In which (?:year|city|country|month|state)"
    r"|What year|What day|What|Who|Whom|At what (?:age|time))"
    rf" ({'|'.join(_VERBS.split())}) (.+)$",
    re.IGNORECASE,
)
_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_HINTS = {
    "why": re.compile(
        r"\b(because|due|since|reason\w*|caus\w+|so|order|result\w*|for|after|led|lead|thus|therefore|owing|thanks"
        r"|motivat\w+|aim\w*|purpose|intend\w*|as|when"
        r"|to (?!the\b|a\b|an\b|his\b|her\b|their\b|its\b|[A-Z0-9])\w+|\w+ing)\b"
    ),
    "how": re.compile(
        r"\b(by|through|via|using|used?|with|means|method\w*|from|as|\w+ing|\w+ly|when|if|under|after)\b"
    ),
    "when": re.compile(
        rf"\d|\b({_MONTHS}|\w+day|century|years?|decades?|days?|nights?|mornings?|evenings?|after|before|during|when"
        r"|ago|until|later|then|first|now|today|time|times|season|spring|summer|autumn|winter|once|early|late"
        r"|recently|since|soon|era|period|age|war|War|upon|as)\b"
    ),
    "where": re.compile(
        r"\b(in|at|near|from|across|into|throughout|on|within|to|around|outside|inside|along|via|through|by|of)\b"
    ),
}
"""By what is asked, words of a context that may answer it."""
_IN_TIME = re.compile(rf"\b[Ii]n (the )?(\d{{4}}|{_MONTHS}|early|late|mid)\b")
"""What begins like a place and is none."""
_OPENINGS = {
    "why": ("Why", "Why", "For what reason"),
    "how": ("How",),
    "when": ("When", "In what year"),
    "where": ("Where", "In which city"),
}
_TOO_CLOSE = {("why", "how"), ("how", "why")}
"""Two that one and the same words may answer."""


def with_other_words(examples: Iterable[Example], *, seed: int = 78) -> Iterator[Example]:
    """Yield an unanswerable example for each answerable one whose question word can be another."""
    dice = Random(seed)
    for context, kind, rest in _askable(examples):
        other = [one for one in _OPENINGS if one != kind and (kind, one) not in _TOO_CLOSE]
        other = [one for one in other if not _hinted(one, context)]
        if other:
            opening = dice.choice(_OPENINGS[dice.choice(other)])
            yield Example(f"{opening} {rest}", context)


def _askable(examples: Iterable[Example]) -> Iterator[tuple[str, str, str]]:
    """Yield a context, what is asked of it, and the question from its verb on."""
    for question, context, answers in examples:
        match = _QUESTION.match(question.strip())
        if not match or not answers:
            continue
        asked, verb, rest = match.groups()
        kind = _kind(asked.lower())
        if kind in _THINGS:
            answer = answers[0][0]
            if verb.lower() not in _DO or len(answer.split()) > LONGEST_NAMED:
                continue
            rest = f"{rest.rstrip('? ')} {answer}?"
        yield context, kind, f"{verb} {rest}"


def _kind(asked: str) -> str:
    """Return what the beginning of a question asks for."""
    if any(word in asked for word in ("where", "city", "country", "state")):
        return "where"
    if any(word in asked for word in ("when", "year", "month", "day", "age", "time")):
        return "when"
    return asked


def _hinted(kind: str, context: str) -> bool:
    """Return whether something in a context may answer a question of a kind."""
    text = _IN_TIME.sub("", context) if kind == "where" else context
    return _HINTS[kind].search(text) is not None
