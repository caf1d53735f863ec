"""A question asked of its own context without the sentences that tell the answer.

What remains speaks of the same matter, often of other people, places and years in the same breath: nothing but the
evidence itself is missing, and it is evidence that a model must learn to ask for.
"""

from __future__ import annotations

import re
from functools import lru_cache
from random import Random
from typing import TYPE_CHECKING

from qatool.features.negatives.making import plain, plain_answers, unanswerable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from qatool.schema import Example

LEAST_SENTENCES = 2
"""That must remain."""
LEAST_CHARACTERS = 150
"""That must remain."""
_BOUNDARY = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+(?=[\"'“‘(\[]*([^\W_]))|(?<=[。！？])[」』”’）]*|\n+")
"""What stands between two sentences, and the letter or digit that the second begins with, if it must not be small."""
_ABBREVIATION = re.compile(r"(?<!\w)(?:[A-Z]|Dr|Mr|Mrs|Ms|St|Mt|No|vs|Jr|Sr|Gen|Col|Lt|Capt|Prof|Rev|ca|cf|Inc)\.$")


def with_cut_contexts(examples: Iterable[Example], ratio: float, *, seed: int = 0) -> Iterator[Example]:
    """Yield all examples, and for a share of the answerable ones another whose context lacks every answer's sentence.

    Of a context so short that hardly anything would remain, none is made.

    :param ratio: examples made for each answerable one, in [0, 1]
    :param seed: the same seed and input make the same examples
    """
    generator = Random(seed)  # noqa: S311 a sample, not a secret
    for example in examples:
        yield example
        if generator.random() >= ratio:
            continue
        answers = plain_answers(example)
        context = without_answers(example.context or "", answers) if answers else None
        if context is not None:
            yield unanswerable(example, "cut", context=context)


def without_answers(context: str, answers: Sequence[str]) -> str | None:
    """Return a context without the sentences that hold an answer, ``None`` where too little would remain."""
    wanted = [plain(answer) for answer in answers]
    sentences = _plain_sentences(context)
    kept = [sentence for sentence, as_read in sentences if as_read and not any(one in as_read for one in wanted)]
    remaining = "".join(kept).strip()
    if len(kept) < LEAST_SENTENCES or len(remaining) < LEAST_CHARACTERS:
        return None
    # An answer that runs over a boundary stands in no sentence.
    as_read = plain(remaining)
    return None if any(one in as_read for one in wanted) or as_read == plain(context) else remaining


@lru_cache(maxsize=1)
def _plain_sentences(text: str) -> list[tuple[str, str]]:
    """Return the sentences of a text, which many questions in a row may be asked of, as they are and plain."""
    return [(sentence, plain(sentence)) for sentence in _sentences(text)]


def _sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a text; joined they are the text."""
    begin = 0
    for boundary in _BOUNDARY.finditer(text):
        before = text[max(0, boundary.start() - 6) : boundary.start()]
        is_inside = (boundary[1] or "").islower() or _ABBREVIATION.search(before)
        if boundary.end() > begin and not is_inside:
            yield text[begin : boundary.end()]
            begin = boundary.end()
    yield text[begin:]
