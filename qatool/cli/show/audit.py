"""The audit of features as lines of text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qatool.files.examples.labels import NEARBY
from qatool.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

_BAR = 30
_REASONS_SHOWN = 5


def audit_lines(audit: Mapping[str, Any]) -> list[str]:
    """Return an audit as lines of text: the counts, then what needs attention and what to do about it.

    :param audit: content of ``audit.json``
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
    """Return a histogram of window lengths, without empty bins at either end."""
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
