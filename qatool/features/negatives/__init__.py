"""Unanswerable examples made from answerable ones, for a model to learn "no answer" from.

A model that only ever met questions with an answer finds one everywhere (Rajpurkar et al., "Know What You Don't
Know", 2018). Questions that people wrote to have none are few; these are made of any labelled file:

* :mod:`~qatool.features.negatives.othercontexts`: another passage nearby that shares the question's words
* :mod:`~qatool.features.negatives.cutcontexts`: the passage itself, without the sentences that tell the answer
* :mod:`~qatool.features.negatives.alteredquestions`: a name, a number or a word of the question is another
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qatool.features.negatives.alteredquestions import with_altered_questions
from qatool.features.negatives.cutcontexts import with_cut_contexts
from qatool.features.negatives.othercontexts import with_other_contexts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from qatool.schema import Example

KINDS = {
    "altered_questions": with_altered_questions,
    "other_contexts": with_other_contexts,
    "cut_contexts": with_cut_contexts,
}
"""In this order: the first two look at neighbouring contexts, which the last one makes more of."""


def with_negatives(examples: Iterable[Example], ratios: Mapping[str, float]) -> Iterable[Example]:
    """Return all examples, each followed by the unanswerable ones made of it.

    :param ratios: how many of each kind are made for each answerable example, in [0, 1]
    """
    for name, make in KINDS.items():
        if ratios[name]:
            examples = make(examples, ratios[name])
    return examples
