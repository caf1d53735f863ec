"""A few answers of a run, to be shown when it is done."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One example to show; its answer is ``context[answer_start:answer_end]``, or none where these are ``None``."""

    id: str
    question: str
    context: str
    answer_start: int | None
    answer_end: int | None
    score: float | None
