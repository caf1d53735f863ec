"""Shards and extractors in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from backendhelpers import ArithmeticBackend
from tokenizerhelpers import pair_tokenizer

from qatool.extraction.answering.answers import Decision
from qatool.extraction.answering.columns import AnswerColumns
from qatool.extraction.answering.extractor import Extractor
from qatool.extraction.answering.shards import Shard, ShardLimits, cut_shards
from qatool.schema import Example
from qatool.spans.decode import decoder
from qatool.windows.cut import WindowSize

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qatool.models.backend import Backend
    from qatool.windows.tokenizer import PairTokenizer

NO_LIMIT = ShardLimits(rows=1 << 30, context_bytes=1 << 40)


def example(question: str | None, context: str | None, row: int = 0, **more: Any) -> Example:
    return Example(**{"id": str(row), "question": question, "context": context, "where": f"rows:{row + 1}"} | more)


def shard_of(pairs: Iterable[tuple[str | None, str | None] | Example]) -> Shard:
    """One shard of pairs of question and context, or of examples."""
    examples = [one if isinstance(one, Example) else example(*one, row=row) for row, one in enumerate(pairs)]
    (shard,) = cut_shards(examples, NO_LIMIT)
    return shard


def extractor(
    tokenizer: PairTokenizer | None = None,
    backend: Backend | None = None,
    *,
    mode: Any = "native",
    top_k: int = 1,
    longest: int = 30,
    max_length: int = 40,
    stride: int = 8,
    always_answer: bool = True,
    threshold: float = 0.5,
    batch_tokens: int = 400,
    **more: Any,
) -> Extractor:
    columns: dict[str, Any] = {"documents": False, "kept": {}, "snippet": None} | more
    return Extractor(
        tokenizer=tokenizer or pair_tokenizer("wordpiece"),
        backend=backend or ArithmeticBackend(),
        decoder=decoder(mode, top_k=top_k, max_answer_length=longest),
        decision=Decision(always_answer=always_answer, no_answer_threshold=threshold),
        size=WindowSize(max_length=max_length, stride=stride, question_budget=16),
        max_windows="all",
        batch_tokens=batch_tokens,
        columns=AnswerColumns(**columns),
    )


def answers(one: Extractor, pairs: Iterable[tuple[str | None, str | None] | Example]) -> list[dict[str, Any]]:
    """The rows that an extractor makes of pairs."""
    return one.answer(one.prepare(shard_of(pairs))).table.to_pylist()


def about(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What rows compare equal to, whatever rounding errors change."""

    def plain(value: Any) -> Any:
        if isinstance(value, float):
            return pytest.approx(value, abs=1e-4)
        if isinstance(value, dict):
            return {name: plain(held) for name, held in value.items()}
        return [plain(held) for held in value] if isinstance(value, list) else value

    return [plain(row) for row in rows]
