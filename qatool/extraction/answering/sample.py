"""A few answers of a run, to be shown when it is done."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One example to show; the answer is ``context[answer_start:answer_end]``, null: no answer."""

    id: str
    question: str
    context: str
    answer_start: int | None
    answer_end: int | None
    score: float | None
