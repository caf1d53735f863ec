"""Unanswerable examples made by removing the sentences with the answer from the context.

The rest of the context is on the same subject, and often names other people, places and years. Only the evidence for
an answer is missing, and a model must learn that it needs evidence.
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
"""Fewest sentences that must remain of a context."""
LEAST_CHARACTERS = 150
"""Fewest characters that must remain of a context."""
_BOUNDARY = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+(?=[\"'“‘(\[]*([^\W_]))|(?<=[。！？])[」』”’）]*|\n+")
"""The boundary of two sentences; its group is the second's first letter or digit, which must not be lower case."""
_ABBREVIATION = re.compile(r"(?<!\w)(?:[A-Z]|Dr|Mr|Mrs|Ms|St|Mt|No|vs|Jr|Sr|Gen|Col|Lt|Capt|Prof|Rev|ca|cf|Inc)\.$")


def with_cut_contexts(examples: Iterable[Example], ratio: float, *, seed: int = 0) -> Iterator[Example]:
    """Yield all examples, and after a share of the answerable ones a copy without the sentences of any answer.

    No copy is made if too little of the context would remain.

    :param ratio: examples to make for each answerable one, in [0, 1]
    :param seed: seed of the random choices; the same seed and input give the same examples
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
    """Return a context without the sentences that contain an answer, ``None`` if too little would remain."""
    wanted = [plain(answer) for answer in answers]
    sentences = _plain_sentences(context)
    kept = [sentence for sentence, as_read in sentences if as_read and not any(one in as_read for one in wanted)]
    remaining = "".join(kept).strip()
    if len(kept) < LEAST_SENTENCES or len(remaining) < LEAST_CHARACTERS:
        return None
    # An answer that crosses a boundary is in no single sentence.
    as_read = plain(remaining)
    return None if any(one in as_read for one in wanted) or as_read == plain(context) else remaining


@lru_cache(maxsize=1)
def _plain_sentences(text: str) -> list[tuple[str, str]]:
    """Return each sentence of a text unchanged and :func:`plain`; cached, as consecutive examples share contexts."""
    return [(sentence, plain(sentence)) for sentence in _sentences(text)]


def _sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a text, with the characters between them; joined, they are the text."""
    begin = 0
    for boundary in _BOUNDARY.finditer(text):
        before = text[max(0, boundary.start() - 6) : boundary.start()]
        is_inside = (boundary[1] or "").islower() or _ABBREVIATION.search(before)
        if boundary.end() > begin and not is_inside:
            yield text[begin : boundary.end()]
            begin = boundary.end()
    yield text[begin:]
