"""The audit: what the input holds and what became of it, summed over shards in bounded memory."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from qatool.features.maker import REPAIRS_SHOWN
from qatool.files.examples.labels import NEARBY
from qatool.files.sources.rows import reason_kind
from qatool.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

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
_BAR = 30
_REASONS_SHOWN = 5


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


def audit_lines(audit: Mapping[str, Any]) -> list[str]:
    """Return an audit as lines of text: what there is, then what deserves a look and what to do about it.

    :param audit: as in ``audit.json``
    """
    examples = (
        f"{counted(audit['examples'], 'example')}: {audit['answerable']:,} answerable, "
        f"{audit['unanswerable']:,} unanswerable, {audit['unlabelled']:,} without a label, "
        f"{audit['empty']:,} empty, {audit['rejected']:,} rejected"
    )
    windows = (
        f"{counted(audit['windows'], 'window')}: {audit['windows_with_answer']:,} with an answer, "
        f"{audit['windows_without_answer']:,} without{_dropped(audit)}; {counted(audit['tokens'], 'token')}, "
        f"{audit['disk_bytes'] / 1e6:,.1f} MB on disk"
    )
    lines = [examples, windows]
    lines += _histogram_lines(audit["window_lengths"])
    if audit["answers_repaired"]:
        nearby = audit["answers_repaired"] - audit["answers_in_bytes"]
        if nearby:
            lines.append(
                f"{counted(nearby, 'answer')} stood up to {NEARBY} characters away from the offset given: repaired"
            )
        if audit["answers_in_bytes"]:
            lines.append(
                f"{counted(audit['answers_in_bytes'], 'answer')} had an offset that counts bytes, not characters: "
                "repaired; mend the program that wrote it"
            )
    if audit["answers_no_window_holds"]:
        lines.append(
            f"{counted(audit['answers_no_window_holds'], 'answer')} fit into no window or have no token, so no label "
            "points at them; raise --max-length or --stride"
        )
    if audit["truncated_questions"]:
        lines.append(
            f"{counted(audit['truncated_questions'], 'question')} cut; raise --max-question-length, and --max-length "
            "where that and --stride leave no more room"
        )
    for name, noun in (
        ("duplicate_examples", "a question and context seen before"),
        ("duplicate_ids", "an id seen before"),
        ("empty_questions", "an empty question"),
        ("empty_contexts", "an empty context"),
    ):
        if audit[name]:
            lines.append(f"{counted(audit[name], 'example')} with {noun}")
    if audit["rejected"]:
        reasons = sorted(audit["reject_reasons"].items(), key=lambda item: -item[1])
        lines += [f"rejected {count:,}: {reason}" for reason, count in reasons[:_REASONS_SHOWN]]
    return lines


def _dropped(audit: Mapping[str, Any]) -> str:
    dropped = f" ({audit['windows_dropped']:,} more dropped)" if audit["windows_dropped"] else ""
    unlabelled = f", {audit['windows_unlabelled']:,} without a label" if audit["windows_unlabelled"] else ""
    return dropped + unlabelled


def _histogram_lines(bins: list[dict[str, int]]) -> list[str]:
    """Draw the lengths of windows, without empty bins at either end."""
    filled = [number for number, one in enumerate(bins) if one["windows"]]
    if not filled:
        return []
    shown = bins[filled[0] : filled[-1] + 1]
    most = max(one["windows"] for one in shown)
    return [
        f"  {one['from']:>5} to {one['to'] - 1:>5} tokens  {one['windows']:>11,}  "
        f"{'#' * -(-_BAR * one['windows'] // most)}".rstrip()
        for one in shown
    ]
