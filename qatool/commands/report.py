"""``qatool report``: write one self-contained page about a file of answers."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qatool.errors import InputError, OutputError
from qatool.evaluation.highlight import pieces
from qatool.evaluation.measures.figures import figures
from qatool.evaluation.measures.judging import judge
from qatool.evaluation.reading.answerrows import answers_at, check_row, is_answers
from qatool.evaluation.reading.answers import load_answers
from qatool.evaluation.reading.contexts import Asked, find_contexts
from qatool.evaluation.reading.references import load_references
from qatool.evaluation.report.charts import (
    length_chart,
    precision_recall_chart,
    reliability_chart,
    require_matplotlib,
    score_chart,
    speed_chart,
)
from qatool.evaluation.report.choice import choose
from qatool.evaluation.report.page import Card, Figure, page
from qatool.files.output.targets import beside
from qatool.files.sources.paths import resolve
from qatool.files.storage.atomic import write_bytes
from qatool.files.storage.locations import check_readable, is_there, location
from qatool.logs import log_event
from qatool.names import SUMMARY_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qatool.evaluation.measures.judging import Judged
    from qatool.evaluation.reading.answers import AnswerSet
    from qatool.evaluation.report.choice import Group
    from qatool.files.storage.locations import Location
    from qatool.options import ReportOptions

AROUND = 160
"""Characters of context shown on either side of a candidate."""
_MARKED = 5
"""Most candidates marked in a context."""


@dataclass(frozen=True, kw_only=True)
class ReportResult:
    """The report that was written."""

    output: Location
    answers: int
    """Number of all answers."""
    shown: int
    """Number of answers on the page."""
    without_context: int
    """Number of answers on the page whose context was not found in the corpus."""
    size: int
    """Size of the page, in bytes."""


def run(options: ReportOptions) -> ReportResult:
    """Write the page.

    :raises EnvironmentUnfitError: the extra ``report`` is not installed
    :raises InputError: a file cannot be used
    :raises OutputError: the page cannot be written
    """
    require_matplotlib()
    path, output = location(options.answers), location(options.output)
    if isinstance(output, Path) and not output.parent.is_dir():
        raise OutputError(f"{output}: the folder {output.parent} does not exist; create it first")
    if not is_there(path):
        raise InputError(f"{path}: no such file or folder; check the path")
    check_readable(path)
    if not is_answers(path):
        raise InputError(f"{path}: holds no answers; name what qatool extract wrote")
    answers = load_answers(options.answers, unique=options.references is not None)
    if not len(answers):
        raise InputError(f"{path}: holds no answer; there is nothing to report")
    judged = _judged(options, answers)
    found = None if judged is None else figures(judged, resamples=options.resamples)
    summary = _summary(path)
    groups = choose(answers, judged, most=options.most)
    cards = _cards(options, path, groups, judged)
    text, shown = page(
        title=path.name,
        origin=_origin(summary),
        figures=_figures(answers, found, summary),
        charts=_charts(answers, found, summary),
        groups=groups,
        cards=cards,
        total=len(answers),
    )
    data = text.encode("utf-8", "replace")
    write_bytes(output, data)
    return ReportResult(
        output=output,
        answers=len(answers),
        shown=shown,
        without_context=_without_context(cards[:shown]) if options.corpus is not None else 0,
        size=len(data),
    )


def _judged(options: ReportOptions, answers: AnswerSet) -> Judged | None:
    if options.references is None:
        return None
    references = load_references(resolve([options.references]), column=options.column)
    return judge(answers, references, path=options.answers, partial=options.partial, rules="squad2.0")


def _summary(path: Location) -> Mapping[str, Any]:
    """Return the extraction's summary; empty if there is none or it cannot be read."""
    summary = beside(path, SUMMARY_SUFFIX)
    try:
        values = json.loads(summary.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        log_event("the summary cannot be read", level=logging.WARNING, file=str(summary), reason=str(error))
        return {}
    return values if isinstance(values, dict) else {}


def _origin(summary: Mapping[str, Any]) -> str:
    """Return a sentence on the model and threshold of the answers; empty without a summary."""
    if not summary.get("model"):
        return ""
    ways = ", ".join(str(summary[name]) for name in ("backend", "precision", "device") if summary.get(name))
    threshold = summary.get("no_answer_threshold")
    rule = (
        f"No answer where the no-answer score exceeds {threshold:.3g}."
        if isinstance(threshold, int | float)
        else "Every question is answered."
    )
    return f"Answered by {summary['model']}{f' ({ways})' if ways else ''}. {rule}"


def _cards(options: ReportOptions, path: Location, groups: Sequence[Group], judged: Judged | None) -> list[Card]:
    """Return a card for each row of the groups, in their order.

    :raises InputError: a row lacks a column that is shown, or the corpus cannot be read
    """
    reasons: dict[int, list[str]] = {}
    for group in groups:
        for row in group.rows:
            reasons.setdefault(row, []).append(group.name)
    values = answers_at(path, sorted(reasons))
    for row, one in values.items():
        check_row(str(path), row, one)
    contexts: dict[bytes, str] = {}
    if options.corpus is not None:
        wanted = {
            one["fingerprint"]: Asked(one["question"] or "", one.get("document_id"))
            for one in values.values()
            if one["fingerprint"] is not None
        }
        contexts = find_contexts(resolve([options.corpus]), wanted, column=options.column)
    place = {} if judged is None else {name: row for row, name in enumerate(judged.answers.ids)}
    cards = []
    for row, names in reasons.items():
        one = values[row]
        context = contexts.get(one["fingerprint"])
        at = place.get(one["id"])
        spans = [(c["answer_start"], c["answer_end"]) for c in (one["candidates"] or ())[:_MARKED]]
        cards.append(
            Card(
                row=row,
                values=one,
                groups=names,
                context=None if context is None else pieces(context, spans, around=AROUND),
                references=None if judged is None or at is None else judged.references[at],
                exact=None if judged is None or at is None else float(judged.decided.exact[at]),
                f1=None if judged is None or at is None else float(judged.decided.f1[at]),
            )
        )
    return cards


def _without_context(cards: Sequence[Card]) -> int:
    return sum(card.context is None and card.values["error"] is None for card in cards)


def _figures(answers: AnswerSet, found: Mapping[str, Any] | None, summary: Mapping[str, Any]) -> list[Figure]:
    """Return the headline figures: counts, quality, speed."""
    total = len(answers)
    answered = sum(map(bool, answers.decided))
    rejected = int(np.count_nonzero(answers.rejected))
    heads = [
        Figure(label="questions", value=f"{total:,}"),
        Figure(label="answered", value=f"{answered:,}", note=f"{100 * answered / total:.1f} %"),
        Figure(label="no answer", value=f"{total - answered - rejected:,}"),
        Figure(label="rejected", value=f"{rejected:,}"),
    ]
    if found is not None:
        for label, name in (("exact match", "exact"), ("F1", "f1")):
            low, high = found["intervals"][name]
            heads.append(Figure(label=label, value=f"{found[name]:.2f}", note=f"95 %: {low:.1f} to {high:.1f}"))
        if found["total"] < total:
            heads.append(Figure(label="with a reference", value=f"{found['total']:,}"))
        if "ece" in found:
            heads.append(Figure(label="calibration error", value=f"{found['ece']:.3f}"))
    if isinstance(pace := summary.get("examples_per_second"), int | float):
        note = " ".join(str(summary[name]) for name in ("device", "precision") if summary.get(name))
        heads.append(Figure(label="examples a second", value=f"{pace:,.1f}", note=note))
    return heads


def _charts(answers: AnswerSet, found: Mapping[str, Any] | None, summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return pairs of caption and SVG for the charts that can be drawn."""
    charts = []
    given = np.fromiter(map(bool, answers.decided), np.bool_, len(answers))
    if answers.score is not None:
        scored = ~np.isnan(answers.score)
        charts.append(("Scores", score_chart(answers.score[given & scored], answers.score[~given & scored])))
    lengths = np.array([len(text) for text in answers.decided if text], dtype=np.int64)
    charts.append(("Answer lengths", length_chart(lengths)))
    if found is not None and "ece" in found:
        charts.append(("Reliability of scores", reliability_chart(found["reliability"], found["ece"])))
        curve = found["precision_recall"]
        charts.append(("Precision and recall by score", precision_recall_chart(curve["points"], curve["area"])))
    entries = summary.get("speed")
    if isinstance(entries, list) and len(entries) > 1:
        charts.append(("Speed", speed_chart(entries)))
    return charts
