"""The audit: counts of the input and of the features made of it, summed over shards in bounded memory."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from qatool.features.maker import REPAIRS_SHOWN
from qatool.files.sources.rows import RejectReasons

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qatool.features.maker import Report

COUNTS = (
    "examples", "answerable", "unanswerable", "unlabelled", "empty", "rejected",
    "windows", "windows_with_answer", "windows_without_answer", "windows_unlabelled", "windows_dropped",
    "tokens", "answers", "answers_repaired", "answers_in_bytes", "answers_no_window_holds",
    "truncated_questions", "empty_questions", "empty_contexts", "duplicate_examples", "duplicate_ids",
)  # fmt: skip
"""Counts in the audit: ``examples`` is the sum of the next five, ``windows`` of the next three."""
_BINS = 12


class Audit:
    """The sum of the reports of all shards.

    :param max_length: longest window, in tokens
    """

    def __init__(self, max_length: int) -> None:
        self.counts: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))
        self._reasons = RejectReasons()
        self._lengths = np.zeros(max_length + 1, dtype=np.int64)
        self._repairs: list[dict[str, Any]] = []

    def add(self, report: Report) -> None:
        """Add the report of a shard."""
        self.counts.update(report.counts)
        for reject in report.rejects:
            self._reasons.add(reject["reason"])
        self._lengths += report.lengths
        self._repairs += report.repairs[: REPAIRS_SHOWN - len(self._repairs)]

    def drop(self, lengths: NDArray[np.int64]) -> None:
        """Subtract windows without an answer that were dropped.

        :param lengths: ``(max_length + 1,)``: number of dropped windows by length in tokens
        """
        dropped = int(lengths.sum())
        self._lengths -= lengths
        self.counts["windows"] -= dropped
        self.counts["windows_without_answer"] -= dropped
        self.counts["windows_dropped"] += dropped
        self.counts["tokens"] -= int((lengths * np.arange(len(lengths))).sum())

    def histogram(self) -> list[dict[str, int]]:
        """Return the number of windows by length: ``from`` (inclusive) to ``to`` (exclusive) tokens."""
        edges = np.unique(np.linspace(0, len(self._lengths), _BINS + 1).round().astype(int))
        sums = np.add.reduceat(self._lengths, edges[:-1])
        return [
            {"from": int(first), "to": int(end), "windows": int(count)}
            for first, end, count in zip(edges[:-1], edges[1:], sums, strict=True)
        ]

    def as_json(self, *, disk_bytes: int) -> dict[str, Any]:
        """Return the content of ``audit.json``.

        :param disk_bytes: size of all files of features and examples
        """
        return {
            **{name: self.counts[name] for name in COUNTS},
            "disk_bytes": disk_bytes,
            "window_lengths": self.histogram(),
            "reject_reasons": self._reasons.most_common(),
            "repairs": self._repairs,
        }
