"""Built-in sample questions, for commands that try a model without questions from the user."""

from __future__ import annotations

from qatool.schema import Example

_TEXTS = {
    "Sarah went to The Mirthless Cafe last night to meet her friend.": (
        "Where did Sarah go?",
        "Who did Sarah meet?",
        "When did Sarah meet her friend?",
        "How did Sarah get to the cafe?",
    ),
    "The ferry between Holm and Sandvik was built in 1934 at the yard of Lindqvist & Sons. It carries 120 passengers"
    " and eighteen cars, and crosses the sound in twenty-five minutes. In winter, when ice closes the northern "
    "channel, the crossing is suspended and a bus takes travellers over the bridge at Torsby instead.": (
        "When was the ferry built?",
        "How many passengers does the ferry carry?",
        "How long does the crossing take?",
        "Why is the crossing suspended in winter?",
        "What does a ticket cost?",
    ),
    "Honey keeps for years because it holds too little water for microbes to live on, and because the bees add an "
    "enzyme that slowly makes hydrogen peroxide. Once water gets in, yeasts wake up and the honey ferments. Mead, "
    "one of the oldest drinks known, is made in just that way: one part of honey is stirred into three parts of "
    "water and left in a warm place for about two weeks.": (
        "Why does honey keep for years?",
        "What do the bees add to honey?",
        "How much water is honey stirred into to make mead?",
        "How long is the mixture left in a warm place?",
        "Which flowers do the bees visit?",
    ),
}


def sample_questions() -> list[Example]:
    """Return the sample questions, without labels."""
    pairs = [(question, context) for context, questions in _TEXTS.items() for question in questions]
    return [
        Example(str(number), question, context, f"sample question {number}")
        for number, (question, context) in enumerate(pairs)
    ]


def sample_corpus(examples: int) -> list[Example]:
    """Return many examples with distinct contexts of some 30 to 250 words, for measuring speed."""
    sentences = [sentence for text in _TEXTS for sentence in text.split(". ")]
    questions = [question for asked in _TEXTS.values() for question in asked]
    corpus = []
    for number in range(examples):
        chosen = [sentences[(number + place) % len(sentences)] for place in range(2 + number * 7 % 11)]
        context = ". ".join([f"Note {number}", *chosen]) + "."
        corpus.append(Example(str(number), questions[number % len(questions)], context, f"sample {number}"))
    return corpus
