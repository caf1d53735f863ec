"""Functions that all ways of making unanswerable examples share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qatool.files.examples.labels import ANSWERS, IMPOSSIBLE, LabelError, place_answer, read_answers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qatool.schema import Example


def plain(text: str) -> str:
    """Return a text for comparison: case-folded, with single spaces for all white space."""
    return " ".join(text.split()).casefold()


def plain_answers(example: Example) -> list[str]:
    """Return the answers of an example, :func:`plain`; an empty list if it has no usable label.

    If one answer cannot be found in the context, none is usable: that it is not in another context means nothing.
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
    """Return the pairs of :func:`plain` question and context in the input, which must not be made again."""
    return {(plain(example.question or ""), example.context) for example in examples}


def unanswerable(example: Example, mark: str, *, question: str | None = None, context: str | None = None) -> Example:
    """Return a copy of an example that is labelled as unanswerable.

    :param mark: suffix for the id
    :param question: new question; ``None`` to keep its own
    :param context: new context; ``None`` to keep its own
    """
    return example._replace(
        id=f"{example.id}#{mark}",
        question=example.question if question is None else question,
        context=example.context if context is None else context,
        kept={ANSWERS: {"text": [], "answer_start": []}, IMPOSSIBLE: True},
    )
