"""Answers of ``--best-per question`` as answers to the questions, whichever document they come from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from qatool.logs import log_event
from qatool.wording import counted

if TYPE_CHECKING:
    from collections.abc import Collection

    from qatool.evaluation.answers import AnswerSet

QUESTION_ID = "question_id"
"""Column of the answers, to be read as well."""


def best_of_each(answers: AnswerSet, references: Collection[str]) -> AnswerSet:
    """Return the best answer to each question under the question's id, where the references know those ids only.

    The rows of a question stand together, the best one first, as ``--best-per question`` writes them, and rejected
    rows at the end; where they do not, the answers are returned as they are.

    :param references: their ids
    """
    asked = answers.extra.get(QUESTION_ID)
    if asked is None or not all(isinstance(one, str) for one in asked):
        return answers
    if not set(references).isdisjoint(answers.ids) or set(references).isdisjoint(asked):
        return answers
    first: dict[str, int] = {}
    before: str | None = None
    for row, (question, is_rejected) in enumerate(zip(asked, answers.rejected.tolist(), strict=True)):
        if question in first and question != before and not is_rejected:
            return answers
        first.setdefault(question, row)
        before = question
    log_event(
        f"ids of the references are those of questions: the best of the answers to each of "
        f"{counted(len(first), 'question')} is judged, by {QUESTION_ID}"
    )
    best = answers.take(np.fromiter(first.values(), np.int64, len(first)))
    return replace(best, ids=list(first))
