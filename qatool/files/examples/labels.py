"""Labels of an example: its answers, read from any of the usual layouts and checked against the context."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from qatool.files.sources.rows import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

ANSWERS = "answers"
IMPOSSIBLE = "is_impossible"
_TRUTH = {"true": True, "false": False, "1": True, "0": False}
LABEL_FIELDS = (ANSWERS, IMPOSSIBLE)
NEARBY = 50
"""How many characters away from the given offset an answer is still accepted."""
_LAYOUT = 'write {"text": ["..."], "answer_start": [N]}'


class Repair(Enum):
    """What was wrong with an offset that could be corrected."""

    NEARBY = "the text stands nearby"
    BYTES = "the offset counts bytes, not characters"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer found in its context: ``context[start:start + len(text)] == text``; offsets are in code points."""

    text: str
    start: int
    given: int
    """The offset that the input gave."""
    repair: Repair | None = None
    """How ``start`` was corrected; ``None`` if the given offset was right."""

    @property
    def end(self) -> int:
        """The end offset, exclusive."""
        return self.start + len(self.text)


class LabelError(ValueError):
    """A label that cannot be used; the message says why and what to do.

    :ivar kind: the reason without what is particular to one row, for counting
    """

    def __init__(self, kind: str, particulars: str) -> None:
        super().__init__(f"{kind}: {particulars}")
        self.kind = kind


def read_answers(values: Mapping[str, Any]) -> list[tuple[str, int]] | None:
    """Return the answers of a row as (text, offset) pairs; ``[]`` if unanswerable, ``None`` if not labelled.

    Accepted are ``{"text": [...], "answer_start": [...]}``, a list of ``{"text": ..., "answer_start": ...}``, and
    either of them as JSON in a string (a CSV cell).

    :param values: values of a row, of which ``answers`` and ``is_impossible`` are used; null counts as missing
    :raises LabelError: the values have another layout, or contradict each other
    """
    impossible = truth_of(values.get(IMPOSSIBLE))
    given = _pairs(_decoded(values.get(ANSWERS)))
    if impossible is None:
        return given
    if impossible and given:
        raise LabelError("is_impossible contradicts answers", "it is true, yet there are some; drop either")
    if not impossible and not given:
        raise LabelError("is_impossible contradicts answers", "it is false, yet there are none; add one or drop it")
    return given or []


def truth_of(value: Any) -> bool | None:
    """Return the value of ``is_impossible``, given as truth value, 0, 1 or text; ``None`` for null and empty text.

    :raises LabelError: the value is none of these
    """
    if value is None or value == "":
        return None
    if isinstance(value, str):
        found = _TRUTH.get(value.lower())
    else:  # numbers as tables hold them
        found = bool(value) if isinstance(value, int | float) and value in (0, 1) else None
    if found is None:
        raise LabelError("is_impossible is no truth value", f"it is {quoted(value)}; write true or false")
    return found


def _decoded(value: Any) -> Any:
    """Return a string (a CSV cell) decoded from JSON, ``None`` if it is blank; any other value unchanged.

    :raises LabelError: the string is not a JSON object or array
    """
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    try:
        decoded = json.loads(value)
    except (ValueError, RecursionError):
        decoded = None
    if not isinstance(decoded, (dict, list)):
        raise LabelError("answers is a plain string", f"it is {quoted(value)} without an offset; {_LAYOUT}")
    return decoded


def _pairs(value: Any) -> list[tuple[str, int]] | None:
    if value is None:
        return None
    if isinstance(value, list):
        if not all(isinstance(answer, dict) for answer in value):
            odd = next(answer for answer in value if not isinstance(answer, dict))
            raise LabelError("answers is no list of objects", f"it holds {quoted(odd)}; {_LAYOUT}")
        texts, starts = ([answer.get(name) for answer in value] for name in ("text", "answer_start"))
    elif isinstance(value, dict):
        texts, starts = (_listed(value, name) for name in ("text", "answer_start"))
    else:
        raise LabelError("answers has another layout", f"it is {quoted(value)}; {_LAYOUT}")
    if len(texts) != len(starts):
        raise LabelError(
            "answers has lists of unequal length",
            f"{len(texts)} in text and {len(starts)} in answer_start; give each text its offset",
        )
    return [_pair(text, start) for text, start in zip(texts, starts, strict=True)]


def _listed(answers: Mapping[str, Any], name: str) -> list[Any]:
    value = answers.get(name)
    if isinstance(value, list):
        return value
    if value is None:
        raise LabelError(f"answers has no {name}", _LAYOUT)
    raise LabelError(f"answers.{name} is no list", f"it is {quoted(value)}; put it into a list, [{quoted(value)}]")


def _pair(text: Any, start: Any) -> tuple[str, int]:
    if type(text) is not str:
        raise LabelError("an answer's text is no text", f"it is {quoted(text)}; {_LAYOUT}")
    if not text:
        raise LabelError("an answer's text is empty", "for a question without an answer leave both lists empty")
    if isinstance(start, float) and start.is_integer():  # pandas turns a column of integers with nulls into floats
        start = int(start)
    if type(start) is not int:
        raise LabelError("an answer's offset is no integer", f"answer_start is {quoted(start)}; count characters")
    return text, start


def place_answer(context: str, text: str, start: int) -> Answer:
    """Find an answer in its context: at the given offset, else at that offset counted in bytes, else nearby.

    :raises LabelError: the text is at none of these places; the message says what is wrong with the offset
    """
    if start < 0:
        raise LabelError("an answer's offset is negative", f"answer_start is {start}; count characters from 0")
    if context.startswith(text, start):
        return Answer(text=text, start=start, given=start)
    in_characters = _from_bytes(context, text, start)
    if in_characters is not None:
        return Answer(text=text, start=in_characters, given=start, repair=Repair.BYTES)
    near = _nearest(context, text, start)
    if near is not None:
        return Answer(text=text, start=near, given=start, repair=Repair.NEARBY)
    elsewhere = context.find(text)
    found = "nowhere in the context" if elsewhere < 0 else f"at {elsewhere}"
    if start >= len(context):
        raise LabelError(
            "an answer's offset lies beyond the context",
            f"answer_start is {start} of {len(context)} characters, and {quoted(text)} stands {found}; "
            "count characters of the context as it is given",
        )
    there = context[start : start + len(text)]
    raise LabelError(
        "an answer's text does not stand at its offset",
        f"at {start} stands {quoted(there)}, and {quoted(text)} stands {found}; "
        "count characters of the context as it is given",
    )


def _from_bytes(context: str, text: str, start: int) -> int | None:
    """Return the offset in characters if ``start`` counts bytes of UTF-8, a common mistake; else ``None``."""
    if context.isascii():
        return None
    data = context.encode("utf-8", "surrogatepass")
    if not data.startswith(text.encode("utf-8", "surrogatepass"), start):
        return None
    # The bytes at the offset begin a character, as those of the text do, so the cut falls between characters.
    return len(data[:start].decode("utf-8", "surrogatepass"))


def _nearest(context: str, text: str, start: int) -> int | None:
    """Return the offset of the text nearest to ``start`` within ``NEARBY`` characters; of equals, the earlier."""
    after = context.find(text, start, start + NEARBY + len(text))
    before = context.rfind(text, max(0, start - NEARBY), start + len(text))
    places = [place for place in (before, after) if place >= 0]
    return min(places, key=lambda place: (abs(place - start), place), default=None)
