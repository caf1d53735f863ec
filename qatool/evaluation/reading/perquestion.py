"""Answers of ``--best-per question`` as answers to the questions, whichever document they come from."""

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
"""Column of the answers, to be read as well."""


def best_answer_to_each(answers: AnswerSet, references: Collection[str], *, path: str) -> AnswerSet:
    """Return the best answer to each question under the question's id, where the references know those ids only.

    The rows of a question stand together, answers first and the best one before others, as ``--best-per question``
    writes them, and rejected rows at the end; where they do not, the answers are returned as they are.

    :param references: their ids
    :param path: of the answers
    :raises InputError: several questions have one id
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
    """Whether a row may stand behind another among the best of a question."""
    if not answers.decided[row] or not answers.decided[before]:
        return False  # where no document answers, one row says so
    return answers.score is None or bool(answers.score[row] <= answers.score[before])
