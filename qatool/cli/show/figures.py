"""The figures of an evaluation as lines of text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qatool.evaluation.measures.curves import threshold_text
from qatool.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_CHANGES_SHOWN = 10
_GROUPS = (("all", ""), ("answerable", "HasAns_"), ("unanswerable", "NoAns_"))
_LONGEST_LABEL = 32


def table_lines(found: Mapping[str, Any]) -> list[str]:
    """Return the figures of an evaluation as lines of text.

    :param found: result of :func:`~qatool.evaluation.measures.figures.figures`, with ``compare`` if answers were
        compared, and ``window_recall`` if that was asked for
    """
    return [
        *_counts(found),
        "",
        *_main(found),
        *_thresholds(found),
        *_confidence(found),
        *_recall(found),
        *_window_recall(found),
        *_slices(found["slices"]),
        *(_comparison(found["compare"]) if "compare" in found else ()),
    ]


def _counts(found: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"{counted(found['total'], 'question')}: {found['answered']:,} answered, {found['no_answer']:,} no answer, "
        f"{found['rejected']:,} rejected"
    )
    if found["without_reference"] or found["without_answer"]:
        yield (
            f"left out: {counted(found['without_reference'], 'answer')} without a reference, "
            f"{counted(found['without_answer'], 'reference')} without an answer"
        )


def _main(found: Mapping[str, Any]) -> list[str]:
    rows = [("", "questions", "exact", "95 %", "F1", "95 %")]
    for label, name in _GROUPS:
        if f"{name}total" in found:
            rows.append(
                (
                    label,
                    f"{found[f'{name}total']:,}",
                    *_mean(found[f"{name}exact"], found["intervals"][f"{name}exact"]),
                    *_mean(found[f"{name}f1"], found["intervals"][f"{name}f1"]),
                )
            )
    return _aligned(rows)


def _mean(value: float, interval: Sequence[float]) -> tuple[str, str]:
    return f"{value:.2f}", f"{interval[0]:.1f}-{interval[1]:.1f}"


def _thresholds(found: Mapping[str, Any]) -> Iterator[str]:
    if "best_f1" not in found or "NoAns_total" not in found:
        return
    yield ""
    for name, label in (("f1", "F1"), ("exact", "exact")):
        yield (
            f"best {label} on these questions: {found[f'best_{name}']:.2f}, with --no-answer-threshold "
            f"{threshold_text(found[f'best_{name}_thresh'])}"
        )
    areas = ", ".join(f"{found[f'pr_{name}_ap']:.2f} by {name}" for name in ("exact", "f1", "oracle"))
    yield f"area under precision and recall, by no-answer score: {areas}"


def _confidence(found: Mapping[str, Any]) -> Iterator[str]:
    if "precision_recall" in found:
        yield ""
        yield f"area under precision and recall, by score: {100 * found['precision_recall']['area']:.2f}"
    if "ece" not in found:
        return
    of_answers = f"; of those of the answers given: {found['answered_ece']:.4f}" if "answered_ece" in found else ""
    yield f"calibration error of scores: {found['ece']:.4f}{of_answers}"
    yield "reliability, mean score and share of exact ones among best spans of like scores:"
    yield from _aligned(
        [
            ("  score", "mean", "exact", "questions"),
            *(
                (
                    f"  {one['lowest']:.3f}-{one['highest']:.3f}",
                    f"{one['confidence']:.3f}",
                    f"{one['exact']:.3f}",
                    f"{one['total']:,}",
                )
                for one in found["reliability"]
            ),
        ]
    )


def _recall(found: Mapping[str, Any]) -> Iterator[str]:
    if len(recall := found.get("recall_at_k", {})) > 1:
        yield ""
        shown = ", ".join(f"{value:.2f} among {k}" for k, value in recall.items())
        yield f"exact answers among the first candidates: {shown}"


def _window_recall(found: Mapping[str, Any]) -> Iterator[str]:
    if "window_recall" not in found:
        return
    recall = found["window_recall"]
    yield ""
    if not recall["questions"]:
        yield "no document is so long that windows of it are chosen"
        return
    yield (
        f"{recall['questions']:,} answerable questions of long documents, {recall['windows']:.1f} windows each; "
        f"auto reads {recall['auto_windows']:.1f} passages; what is read holds the answer:"
    )
    yield from _aligned(
        [("  windows read", *recall["read"]), ("  per cent", *(f"{value:.1f}" for value in recall["read"].values()))]
    )


def _slices(slices: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[str]:
    for name, rows in slices.items():
        if not rows:
            continue
        yield ""
        yield from _aligned(
            [
                (f"by {name.replace('_', ' ')}", "questions", "exact", "95 %", "F1", "95 %"),
                *(
                    (
                        f"  {_short(row['value'])}",
                        f"{row['total']:,}",
                        *_mean(row["exact"], row["exact_interval"]),
                        *_mean(row["f1"], row["f1_interval"]),
                    )
                    for row in rows
                ),
            ]
        )


def _comparison(found: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield f"the other answers, against these ({counted(found['total'], 'question')}):"
    for name, label in (("exact", "exact"), ("f1", "F1")):
        low, high = found[name]["interval"]
        verdict = "better" if low > 0 else "worse" if high < 0 else "no clear difference"
        yield (
            f"  {label} {found[name]['gain']:+.2f} (95 %: {low:+.2f} to {high:+.2f}), better in "
            f"{100 * found[name]['better_share']:.1f} % of resamples: {verdict}"
        )
    yield (
        f"  {counted(found['changed'], 'answer')} changed: {found['became_right']:,} became right, "
        f"{found['became_wrong']:,} became wrong"
    )
    flips = [one for one in found["changes"] if one["exact_before"] != one["exact_after"]]
    for one in flips[:_CHANGES_SHOWN]:
        sign = "+" if one["exact_after"] else "-"
        yield f"  {sign} {_short(one['id'])}: {_answer(one['before'])} -> {_answer(one['after'])}"
    if len(flips) > _CHANGES_SHOWN:
        yield f"  … and {len(flips) - _CHANGES_SHOWN:,} more; --json lists all"


def _answer(text: str | None) -> str:
    return "no answer" if text is None else f'"{_short(text)}"'


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_LABEL else f"{text[: _LONGEST_LABEL - 1]}…"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells as lines with aligned columns, the first flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
