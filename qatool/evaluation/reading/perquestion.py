"""Judge answers from ``--best-per question`` by question, whichever document they come from."""

from __future__ import annotations

from dataclasses import replace
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np

from qatool.errors import InputError
from qatool.evaluation.reading.answers import holds_best_only
from qatool.files.sources.rows import quoted
from qatool.logs import log_event
from qatool.wording import counted

if TYPE_CHECKING:
    from collections.abc import Collection

    from qatool.evaluation.reading.answers import AnswerSet

QUESTION_ID = "question_id"
"""Column of the answers that must be read for this."""


def best_answer_to_each(answers: AnswerSet, references: Collection[str], *, path: str) -> AnswerSet:
    """Return the best answer to each question with the question's id, if the references have only those ids.

    ``--best-per question`` writes the rows of a question together, best answer first, and rejected rows at the end.
    Answers in any other order are returned unchanged.

    :param references: ids of the references
    :param path: path of the answers
    :raises InputError: several questions have the same id
    """
    asked = answers.extra.get(QUESTION_ID)
    if asked is None or not all(isinstance(one, str) for one in compress(asked, ~answers.rejected)):
        return answers
    if not set(references).isdisjoint(answers.ids) or set(references).isdisjoint(asked):
        return answers
    if holds_best_only(path) is False:
        return answers
    first: dict[str, int] = {}
    before: int | None = None
    for row, (question, is_rejected) in enumerate(zip(asked, answers.rejected.tolist(), strict=True)):
        if is_rejected:
            if question is not None:
                first.setdefault(question, row)
            continue
        if question in first:
            if answers.questions[first[question]] != answers.questions[row]:
                raise InputError(
                    f"{path}: the id {quoted(question)} stands for several questions; give each its own and extract "
                    "again"
                )
            if before is None or asked[before] != question or not _is_no_better(answers, row, before):
                return answers
        first.setdefault(question, row)
        before = row
    log_event(
        f"ids of the references are those of questions: the best of the answers to each of "
        f"{counted(len(first), 'question')} is judged, by {QUESTION_ID}"
    )
    best = answers.take(np.fromiter(first.values(), np.int64, len(first)))
    return replace(best, ids=list(first))


def _is_no_better(answers: AnswerSet, row: int, before: int) -> bool:
    """Return whether a row may follow another one in the ranking of a question's answers."""
    if not answers.decided[row] or not answers.decided[before]:
        return False  # "no answer" is a single row, for a question without any answer
    return answers.score is None or bool(answers.score[row] <= answers.score[before])
