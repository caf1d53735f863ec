"""Slow, plain search and ranking of spans, written from the descriptions, and windows to try them on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from qatool.windows.assemble import WindowBatch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qatool.spans.search import SpanTable

    Logits = Sequence[Sequence[float]]


class Span(NamedTuple):
    """A span of a window; tokens count from the window's first context token, ``end`` is one past the last."""

    logit: float
    start: int
    end: int


def random_batch(rng: np.random.Generator, *, windows: int, null_last: bool = False) -> WindowBatch:
    """Windows of 1 to 60 context tokens behind a question; what the ids are does not matter to a search."""
    context = rng.integers(1, 61, windows)
    first = rng.integers(2, 12, windows)
    lengths = first + context + (2 if null_last else 1)
    return WindowBatch(
        input_ids=np.zeros((windows, int(lengths.max())), dtype=np.int32),
        token_type_ids=None,
        lengths=lengths,
        context_first=first,
        context_length=context,
        null_position=lengths - 1 if null_last else np.zeros(windows, dtype=np.int64),
    )


def random_logits(rng: np.random.Generator, batch: WindowBatch, *, scale: float = 4.0) -> list[np.ndarray]:
    """Start and end logits without ties; of the padding, too, which must not matter."""
    return [(rng.standard_normal(batch.input_ids.shape) * scale).astype(np.float32) for _ in range(2)]


def legal_spans(starts: Iterable[float], ends: Iterable[float], max_answer_length: int) -> list[Span]:
    """All legal spans of the context logits of one window, best first: a double loop."""
    starts, ends = [float(value) for value in starts], [float(value) for value in ends]
    found = [
        Span(starts[i] + ends[j], i, j + 1)
        for i in range(len(starts))
        for j in range(i, min(i + max_answer_length, len(ends)))
    ]
    return sorted((span for span in found if span.logit > -math.inf), key=lambda span: (-span.logit, span[1:]))


def log_sum_exp(values: Iterable[float]) -> float:
    held = list(values)
    peak = max(held, default=-math.inf)
    return peak + math.log(math.fsum(math.exp(v - peak) for v in held)) if math.isfinite(peak) else peak


def script_spans(starts: Sequence[float], ends: Sequence[float], first: int, length: int, longest: int) -> list[Span]:
    """The loop of the SQuAD script over one window's logits of all tokens, padding left out."""

    def twenty(logits: Sequence[float]) -> list[int]:
        return [int(i) for i in np.argsort(np.asarray(logits, dtype=np.float64))[-1:-21:-1]]

    found = []
    for start in twenty(starts):
        for end in twenty(ends):
            if not first <= start < first + length or not first <= end < first + length:
                continue
            if end < start or end - start + 1 > longest:
                continue
            found.append(Span(float(starts[start]) + float(ends[end]), start - first, end + 1 - first))
    return sorted(found, key=lambda span: -span.logit)


def context_of(logits: np.ndarray, batch: WindowBatch, row: int) -> np.ndarray:
    first = int(batch.context_first[row])
    return logits[row, first : first + int(batch.context_length[row])]


def found_spans(table: SpanTable, row: int) -> list[Span]:
    """The spans of one row of a table, without the missing ones."""
    columns = zip(table.logit[row].tolist(), table.start[row].tolist(), table.end[row].tolist(), strict=True)
    return [Span(*span) for span in columns if span[0] > -math.inf]


def assert_same_spans(found: list[Span], expected: list[Span], *, tolerance: float = 1e-4) -> None:
    """Hold spans against those of a slow search; where logits differ less than their rounding, either may lead."""
    assert len(found) == len(expected)
    assert len(set(found)) == len(found)
    for ours, theirs in zip(found, expected, strict=True):
        assert math.isclose(ours.logit, theirs.logit, rel_tol=1e-6, abs_tol=tolerance)
        if ours[1:] != theirs[1:]:
            near = [other.logit for other in expected if other[1:] == ours[1:]] or [expected[-1].logit]
            assert min(abs(logit - ours.logit) for logit in near) <= tolerance
