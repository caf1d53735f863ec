"""Stories of one sentence, and questions that they answer and do not answer.

Someone goes to a place or does something with a thing; time, manner and reason are told or left out, and asked for
in either case. A place has a name in the story, and the question may call it by its kind: "the Blue Heron" is a bar.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, NamedTuple

from common import Example

if TYPE_CHECKING:
    from collections.abc import Iterator

STORIES = 700
QUESTIONS = 3
"""Questions of a story at most, drawn from all."""


def _listed(text: str) -> list[str]:
    return [one.strip() for one in text.replace("\n", " ").split(",")]


NAMES = _listed(
    """Maria, Tom, Ivan, Aisha, Peter, Lucia, Omar, Nadia, Hugo, Elena, Dr. Chen, Mr. Patel, Professor Lind,
    Grandmother, Kofi, Yuki, Captain Rowe, Mrs. Alvarez, Ben, Priya, The nurse, The mechanic, The twins, The choir,
    Two engineers"""
)
PLACES = [
    ("the Blue Heron", "bar"),
    ("The Golden Spoon", "restaurant"),
    ("Hotel Miramar", "hotel"),
    ("Bramble Books", "shop"),
    ("St. Olaf's", "hospital"),
    ("the Lyceum", "theatre"),
    ("Mario's", "restaurant"),
    ("the Grand Odeon", "cinema"),
    ("Oakfield", "school"),
    ("The Copper Kettle", "cafe"),
    ("the Royal Albert", "museum"),
    ("Crumb & Co.", "bakery"),
    ("Union TaskRunner", "station"),
    ("the Riverside", "gym"),
    ("Green Park", "park"),
    ("The Wandering Goat", "pub"),
    ("First National", "bank"),
    ("the Old Mill", "inn"),
    ("Kew", "garden"),
    ("Heathrow", "airport"),
    ("the Alte Oper", "concert hall"),
    ("Nine Elms", "market"),
    ("The Velvet Room", "club"),
    ("the Sisters of Mercy", "convent"),
    ("Pier 19", "harbour"),
]
"""Names of places, and what they are."""
TIMES = _listed(
    """yesterday morning, on Tuesday, two weeks ago, in March, last Friday, at noon, on Christmas Eve, this morning,
    after the storm, in 1987, late on Sunday, three days ago, at half past six, the night before, last summer,
    before breakfast"""
)
PEOPLE = _listed(
    """her lawyer, an old colleague, his cousin, the new manager, a retired pilot, their grandparents, Anna Berg,
    the landlord, a journalist, two friends from college, his piano teacher, the mayor"""
)
THINGS = _listed(
    """a red umbrella, the missing keys, three train tickets, a birthday cake, an old radio, the final report,
    some fresh bread, a leather suitcase, the signed contract, a pair of skis, two violins, a letter"""
)
MANNERS = _listed(
    """by bus, on foot, by taxi, with a borrowed bicycle, on the night train, by ferry, in a rented van,
    on horseback"""
)
REASONS = _listed(
    """because the heating had failed, to celebrate the promotion, because it was raining, to apologise,
    to say goodbye, because the road was closed, to escape the heat, as the doctor had advised it"""
)
MEETING = ["meet", "call", "visit", "thank", "interview", "help"]


class Going(NamedTuple):
    """A verb of going: in the story, in a question, and in one for the manner (none: the verb tells it)."""

    past: str
    infinitive: str
    get: str | None


GOING = [
    Going("went to", "go to", "get to"),
    Going("drove to", "drive to", None),
    Going("walked to", "walk to", None),
    Going("returned to", "return to", "get back to"),
    Going("hurried to", "hurry to", "get to"),
    Going("came to", "come to", "get to"),
    Going("travelled to", "travel to", "get to"),
]
HANDLING = [
    ("bought", "buy"),
    ("found", "find"),
    ("left", "leave"),
    ("lost", "lose"),
    ("sold", "sell"),
    ("delivered", "deliver"),
    ("forgot", "forget"),
    ("collected", "collect"),
]
"""What is done with a thing, in the story and in a question."""


class Told(NamedTuple):
    """What a story may tell."""

    name: str
    place: str
    kind: str
    manner: str | None
    reason: str | None
    time: str | None

    @property
    def who(self) -> str:
        """The name as it stands within a sentence."""
        if self.name.startswith(("The ", "Two ", "Grand")):
            return self.name[0].lower() + self.name[1:]
        return self.name


class Story(NamedTuple):
    """A sentence and questions, each with its answer (none: the sentence does not tell)."""

    sentence: str
    questions: list[tuple[str, str | None]]


def story_examples(*, seed: int = 411) -> Iterator[Example]:
    """Yield a few examples of each story."""
    dice = Random(seed)
    for _ in range(STORIES):
        told = _told(dice)
        sentence, questions = _trip(told, dice) if dice.random() < 0.5 else _deed(told, dice)
        dice.shuffle(questions)
        for question, answer in questions[:QUESTIONS]:
            yield _example(question, sentence, answer)


def _example(question: str, context: str, answer: str | None) -> Example:
    """Return an example; the answer is spelt as the context spells it."""
    if answer is None:
        return Example(question, context)
    start = context.lower().index(answer.lower())
    return Example(question, context, ((context[start : start + len(answer)], start),))


def _told(dice: Random) -> Told:
    name = dice.choice(NAMES)
    place, kind = dice.choice(PLACES)
    time = dice.choice(TIMES)
    manner = dice.choice(MANNERS) if dice.random() < 0.35 else None
    reason = dice.choice(REASONS) if dice.random() < 0.35 else None
    return Told(name, place, kind, manner, reason, time if dice.random() < 0.65 else None)


def _trip(told: Told, dice: Random) -> Story:
    """Return a story of someone who goes to a place, for a reason, to see somebody, or just so."""
    going = dice.choice(GOING)
    if going.get is None:
        told = told._replace(manner=None)
    person = meet = aim = None
    if not told.reason and dice.random() < 0.4:
        person, meet = dice.choice(PEOPLE), dice.choice(MEETING)
        aim = f"to {meet} {person}"
    if told.time and dice.random() < 0.25 and not told.reason and not aim:
        time = f"{told.time[0].upper()}{told.time[1:]},"
        sentence = _sentence(time, told.who, going.past, told.place, told.manner)
    else:
        sentence = _sentence(told.name, going.past, told.place, told.manner, told.time, aim, told.reason)
    goal = dice.choice([told.place, f"the {told.kind}", f"the {told.kind}", told.place])
    questions = _of_going(told, going, goal, dice)
    go = f"{told.who} {going.infinitive} {goal}"
    if told.reason:
        questions.append((f"Why did {go}?", told.reason))
    elif person and meet:
        questions += [(f"Who did {told.who} {meet}?", person), (f"Why did {go}?", aim)]
        questions.append((dice.choice(_untold_of_meeting(told.who, meet, person)), None))
    else:
        questions.append((dice.choice(_untold_of_trip(told.who, go, goal)), None))
    return Story(sentence, questions + _of_another_place(told, going, dice))


def _of_going(told: Told, going: Going, goal: str, dice: Random) -> list[tuple[str, str | None]]:
    """Return questions for where, who, when and how."""
    who, infinitive = told.who, going.infinitive
    questions: list[tuple[str, str | None]] = [
        (f"Where did {who} {infinitive.removesuffix(' to')}?", told.place),
        (f"Who {going.past} {goal}?", who),
    ]
    if dice.random() < 0.5:
        questions.append((f"What {told.kind} did {who} {infinitive}?", told.place))
    questions.append((f"When did {who} {infinitive} {goal}?", told.time))
    how = f"How did {who} {going.get or infinitive} {goal}?"
    if told.manner != "on foot":
        how = dice.choice([how, f"What did {who} use to {infinitive} {goal}?"])
    return [*questions, (how, told.manner)]


def _untold_of_meeting(who: str, meet: str, person: str) -> list[str]:
    return [
        f"Why did {who} want to {meet} {person}?",
        f"What is the reason that {who} had for seeing {person}?",
        f"What did {who} say to {person}?",
        f"How long has {who} known {person}?",
    ]


def _untold_of_trip(who: str, go: str, goal: str) -> list[str]:
    return [
        f"Why did {go}?",
        f"What was the reason for the trip of {who}?",
        f"What did {who} do at {goal}?",
        f"How long did {who} stay?",
    ]


def _of_another_place(told: Told, going: Going, dice: Random) -> list[tuple[str, str | None]]:
    """Return a question for a place of another kind, or none; kinds that are near each other count as others."""
    place, kind = dice.choice(PLACES)
    if kind == told.kind or dice.random() >= 0.4:
        return []
    questions = [f"Who {going.past} the {kind}?", f"When did {told.who} {going.infinitive} {place}?"]
    return [(dice.choice(questions), None)]


def _deed(told: Told, dice: Random) -> Story:
    """Return a story of someone who does something with a thing."""
    past, infinitive = dice.choice(HANDLING)
    thing = dice.choice(THINGS)
    at = f"at {told.place}" if dice.random() < 0.6 else None
    who, deed = told.who, f"{told.who} {infinitive} {thing}"
    questions = [
        (f"What did {who} {infinitive}?", thing),
        (f"Who {past} {thing}?", who),
        (f"Where did {deed}?", told.place if at else None),
        (f"When did {deed}?", told.time),
        (
            f"Why did {deed}?" if not told.reason or dice.random() < 0.7 else f"For what reason did {deed}?",
            told.reason,
        ),
        (dice.choice(_untold_of_deed(who, deed, thing)), None),
    ]
    if at and dice.random() < 0.4:
        questions.append((f"Who was at the {told.kind}?", who))
    return Story(_sentence(told.name, past, thing, at, told.time, told.reason), questions)


def _untold_of_deed(who: str, deed: str, thing: str) -> list[str]:
    return [
        f"How did {deed}?",
        f"How much did {thing} cost?",
        f"Who helped {who}?",
        f"What did {who} do afterwards?",
        f"Who was with {who}?",
    ]


def _sentence(*parts: str | None) -> str:
    return " ".join(part for part in parts if part) + "."
