"""The audit: what the input holds and what became of it, summed over shards in bounded memory."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from qatool.features.maker import REPAIRS_SHOWN
from qatool.files.sources.rows import reason_kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qatool.features.maker import Report

COUNTS = (
    "examples", "answerable", "unanswerable", "unlabelled", "empty", "rejected",
    "windows", "windows_with_answer", "windows_without_answer", "windows_unlabelled", "windows_dropped",
    "tokens", "answers", "answers_repaired", "answers_in_bytes", "answers_no_window_holds",
    "truncated_questions", "empty_questions", "empty_contexts", "duplicate_examples", "duplicate_ids",
)  # fmt: skip
"""The examples are the sum of the five that follow, the windows of the three that follow."""
_BINS = 12


class Audit:
    """Sums up the reports of all shards.

    :param max_length: tokens of the longest window
    """

    def __init__(self, max_length: int) -> None:
        self.counts: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))
        self.reasons: Counter[str] = Counter()
        """Rejected examples by reason, without particulars."""
        self._lengths = np.zeros(max_length + 1, dtype=np.int64)
        self._repairs: list[dict[str, Any]] = []

    def add(self, report: Report) -> None:
        """Add the report of a shard."""
        self.counts.update(report.counts)
        self.reasons.update(reason_kind(reject["reason"]) for reject in report.rejects)
        self._lengths += report.lengths
        self._repairs += report.repairs[: REPAIRS_SHOWN - len(self._repairs)]

    def drop(self, lengths: NDArray[np.int64]) -> None:
        """Take out windows without an answer that are not kept.

        :param lengths: ``(max_length + 1,)``: how many of each length
        """
        dropped = int(lengths.sum())
        self._lengths -= lengths
        self.counts["windows"] -= dropped
        self.counts["windows_without_answer"] -= dropped
        self.counts["windows_dropped"] += dropped
        self.counts["tokens"] -= int((lengths * np.arange(len(lengths))).sum())

    def histogram(self) -> list[dict[str, int]]:
        """Return how many windows have ``from`` up to but not including ``to`` tokens."""
        edges = np.unique(np.linspace(0, len(self._lengths), _BINS + 1).round().astype(int))
        sums = np.add.reduceat(self._lengths, edges[:-1])
        return [
            {"from": int(first), "to": int(end), "windows": int(count)}
            for first, end, count in zip(edges[:-1], edges[1:], sums, strict=True)
        ]

    def as_json(self, *, disk_bytes: int) -> dict[str, Any]:
        """Return what stands in ``audit.json``.

        :param disk_bytes: of all files with features and examples
        """
        return {
            **{name: self.counts[name] for name in COUNTS},
            "disk_bytes": disk_bytes,
            "window_lengths": self.histogram(),
            "reject_reasons": dict(self.reasons.most_common()),
            "repairs": self._repairs,
        }
