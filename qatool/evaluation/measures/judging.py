"""Join answers with their references by id, and score each answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qatool.errors import InputError
from qatool.evaluation.measures.scoring import Scores, expected_answers, score
from qatool.files.sources.rows import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from qatool.evaluation.measures.scoring import Expected
    from qatool.evaluation.reading.answers import AnswerSet
    from qatool.evaluation.reading.references import References
    from qatool.options import Rules


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The ``n`` answers that have a reference, in the order of the answers, with their scores."""

    answers: AnswerSet
    references: Sequence[tuple[str, ...]]
    expected: Sequence[Expected]
    questions: Sequence[str | None]
    extra: Mapping[str, Sequence[Any]]
    """Values of further columns, from the references or, if they lack the column, from the answers."""
    has_answer: NDArray[np.bool_]
    """``(n,)``: whether the question has an answer."""
    decided: Scores
    """Scores of the decisions."""
    best: Scores
    """Scores of the best texts, whatever was decided."""
    without_reference: int
    """Number of answers without a reference, which are left out."""
    without_answer: int
    """Number of references without an answer, which are left out."""
    rules: Rules

    @property
    def answered(self) -> NDArray[np.bool_]:
        """``(n,)``: whether an answer was given."""
        return _filled(self.answers.decided)

    @property
    def has_best(self) -> NDArray[np.bool_]:
        """``(n,)``: whether there is a best text."""
        return _filled(self.answers.best)


def _filled(texts: Sequence[str | None]) -> NDArray[np.bool_]:
    return np.fromiter(map(bool, texts), np.bool_, len(texts))


def judge(answers: AnswerSet, references: References, *, path: str, partial: bool, rules: Rules) -> Judged:
    """Join answers with references by id, and score them.

    :param path: path of the answers, for messages
    :param partial: whether to leave out answers and references without a counterpart, instead of raising an error
    :raises InputError: an answer or a reference has no counterpart, or none has one; or there are unanswerable
        questions, which the rules of SQuAD 1.1 do not allow
    """
    place = {name: row for row, name in enumerate(references.ids)}
    at = np.fromiter((place.get(name, -1) for name in answers.ids), np.int64, len(answers))
    matched = np.flatnonzero(at >= 0)
    extra_ids, missing_ids = len(answers) - len(matched), len(references.ids) - len(matched)
    if (extra_ids or missing_ids) and not partial:
        raise InputError(*_unmatched(answers, references, at, path))
    if not len(matched):
        raise InputError(f"{path}: no answer has a reference of its id; name the references these answers belong to")
    if extra_ids:
        answers, at = answers.take(matched), at[matched]
    rows = at.tolist()
    texts = [references.texts[row] for row in rows]
    expected = expected_answers(texts, rules)
    has_answer = np.fromiter((right.has_answer for right in expected), np.bool_, len(expected))
    if rules == "squad1.1" and not has_answer.all():
        raise InputError(
            f"{path}: {np.count_nonzero(~has_answer):,} questions are unanswerable, which SQuAD 1.1 does not know; "
            "drop --rules squad1.1"
        )
    found = {name: [values[row] for row in rows] for name, values in references.extra.items()}
    best, decided = _scores(answers, expected, rules)
    return Judged(
        answers=answers,
        references=texts,
        expected=expected,
        questions=[references.questions[row] or given for row, given in zip(rows, answers.questions, strict=True)],
        extra=dict(answers.extra) | found,
        has_answer=has_answer,
        decided=decided,
        best=best,
        without_reference=extra_ids,
        without_answer=missing_ids,
        rules=rules,
    )


def _scores(answers: AnswerSet, expected: Sequence[Expected], rules: Rules) -> tuple[Scores, Scores]:
    """Return the scores of the best texts and of the decisions; a rejected row is never right."""
    best = score(answers.best, expected, rules)
    pairs = zip(answers.decided, answers.best, strict=True)
    other = [row for row, (text, one) in enumerate(pairs) if text != one]
    decided = Scores(best.exact.copy(), best.f1.copy())
    if other:
        again = score([answers.decided[row] for row in other], [expected[row] for row in other], rules)
        decided.exact[other], decided.f1[other] = again
    if answers.exceeds is not None:
        # As in the official script, "no answer" is right only where there is no reference, even an empty one.
        unanswerable = np.array([not right.has_answer for right in expected], dtype=np.float64)
        for values in decided:
            values[answers.exceeds] = unanswerable[answers.exceeds]
    for scores in (best, decided):
        scores.exact[answers.rejected] = scores.f1[answers.rejected] = 0.0
    return best, decided


def _unmatched(answers: AnswerSet, references: References, at: NDArray[np.int64], path: str) -> list[str]:
    """Return a message about answers without a reference, one about references without an answer, or both."""
    lines = []
    remedy = "add --partial to evaluate what matches"
    if len(lost := np.flatnonzero(at < 0)):
        first = quoted(answers.ids[lost[0]])
        lines.append(f"{path}: {len(lost):,} of {len(at):,} answers have no reference, the first {first}; {remedy}")
    there = np.zeros(len(references.ids), dtype=np.bool_)
    there[at[at >= 0]] = True
    if len(lost := np.flatnonzero(~there)):
        first = quoted(references.ids[lost[0]])
        total = len(references.ids)
        lines.append(f"{path}: {len(lost):,} of {total:,} references have no answer, the first {first}; {remedy}")
    return lines
