"""Unanswerable examples made from answerable ones, from which a model learns "no answer".

A model trained only on questions with an answer finds one everywhere (Rajpurkar et al., "Know What You Don't Know",
2018). There are few data sets with unanswerable questions written by people; these are made from any labelled file:

* :mod:`~qatool.features.negatives.othercontexts`: the question with a nearby context that shares its words
* :mod:`~qatool.features.negatives.cutcontexts`: the question with its context, without the sentences of the answer
* :mod:`~qatool.features.negatives.alteredquestions`: the context with a question in which a name, number or word is
  replaced
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
"""Functions by kind. The order matters: the first two look at neighbouring contexts, and the last adds contexts."""


def with_negatives(examples: Iterable[Example], ratios: Mapping[str, float]) -> Iterable[Example]:
    """Return all examples, each followed by the unanswerable ones made from it.

    :param ratios: examples to make for each answerable one, in [0, 1], by kind
    """
    for name, make in KINDS.items():
        if ratios[name]:
            examples = make(examples, ratios[name])
    return examples
