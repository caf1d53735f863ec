"""What all ways to make unanswerable examples share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qatool.files.examples.labels import ANSWERS, IMPOSSIBLE, LabelError, place_answer, read_answers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qatool.schema import Example


def plain(text: str) -> str:
    """Return a text as it is compared with others: without regard to case and to what kind of blanks it has."""
    return " ".join(text.split()).casefold()


def plain_answers(example: Example) -> list[str]:
    """Return the answers of an example, :func:`plain`; none where it has no label that can be used.

    Where one does not stand in the context, none can be: that another context lacks it would say nothing.
    """
    if example.error is not None or example.is_odd:
        return []
    context = example.context or ""
    try:
        answers = [plain(place_answer(context, *given).text) for given in read_answers(example.kept) or []]
    except LabelError:
        return []
    return [answer for answer in answers if answer]


def asked_of(examples: Iterable[Example]) -> set[tuple[str, str | None]]:
    """Return what is asked of which context, questions :func:`plain`: there the input itself tells the answer."""
    return {(plain(example.question or ""), example.context) for example in examples}


def unanswerable(example: Example, mark: str, *, question: str | None = None, context: str | None = None) -> Example:
    """Return an example made of another that has no answer.

    :param mark: stands behind the id
    :param question: in place of its own
    :param context: in place of its own
    """
    return example._replace(
        id=f"{example.id}#{mark}",
        question=example.question if question is None else question,
        context=example.context if context is None else context,
        kept={ANSWERS: {"text": [], "answer_start": []}, IMPOSSIBLE: True},
    )
