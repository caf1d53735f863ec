"""What a command shows when it is done: the counts, the speed, and a few answers in their contexts."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from qatool.logs import harmless
from qatool.observers import is_terminal
from qatool.wording import counted, duration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console
    from rich.text import Text

AROUND = 60
"""Characters of context shown on either side of an answer."""
_LONGEST_ANSWER = 240
_LONGEST_QUESTION = 160
_REASONS_SHOWN = 5
_NARROWEST = 8
"""Columns; with fewer, nothing is left between the margins."""
_USUAL_WIDTH = 80
_JOINERS = "\u200d\ufe0e\ufe0f"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One example to show; the answer is ``context[answer_start:answer_end]``, null: no answer."""

    id: str
    question: str
    context: str
    answer_start: int | None
    answer_end: int | None
    score: float | None


def show_summary(summary: Mapping[str, Any], samples: Sequence[Sample], *, stream: TextIO) -> None:
    """Show ``summary`` on ``stream``: plain lines, or on a terminal colour and the samples as well.

    :param summary: counts ``examples``, ``answered``, ``no_answer``, ``odd``, ``rejected``, ``taken_over``,
        ``windows``, ``windows_read``, and of best answers ``questions`` and ``questions_answered``;
        ``reject_reasons`` (count by reason); ``seconds``, ``examples_per_second``, ``windows_per_second``;
        ``no_answer_threshold`` (``None``: every question is answered); ``output``, ``rejects`` (path or ``None``);
        ``model``, ``device``, ``backend``, ``precision``
    """
    lines = [harmless(line) for line in summary_lines(summary)]
    if not is_terminal(stream):
        stream.writelines(f"{line}\n" for line in lines)
        stream.flush()
        return
    from rich.padding import Padding
    from rich.text import Text

    console = console_on(stream)
    for sample in samples:
        head, body = sample_texts(sample)
        console.print(head)
        console.print(Padding(body, (0, 2, 1, 2)))
    console.print(Text(lines[0], style="bold"))
    for line in lines[1:]:
        console.print(Text(line))


def console_on(stream: TextIO) -> Console:
    """Return what prints on a terminal, also where ``COLUMNS`` leaves no room for anything."""
    from rich.console import Console

    console = Console(file=stream, highlight=False)
    if console.width < _NARROWEST:
        console.width = _USUAL_WIDTH
    return console


def summary_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return the summary as lines of text, the counts first."""
    noun, total, answered = "example", summary["examples"], summary["answered"]
    no_answer = summary["no_answer"]
    if "questions" in summary:
        noun, total, answered = "question", summary["questions"], summary["questions_answered"]
        no_answer = total - answered
    counts = f"{counted(total, noun)}: {answered:,} answered, {no_answer:,} no answer"
    counts += f", {summary['rejected']:,} rejected"
    if noun == "question":
        counts += f"; asked of documents {counted(summary['examples'], 'time')}"
    if summary["taken_over"]:
        counts += f"; {summary['taken_over']:,} taken over from earlier answers"
    read = f" ({summary['windows_read']:,} of {summary['windows']:,} windows read)"
    pace = (
        f"{summary['examples_per_second']:,.1f} examples/s, {summary['windows_per_second']:,.1f} windows/s "
        f"in {duration(summary['seconds'])}{read if summary['windows_read'] != summary['windows'] else ''}"
    )
    lines = [f"{counts}; {pace}"]
    if summary["odd"]:
        lines.append(f"{counted(summary['odd'], 'example')} with an empty question or context, so without an answer")
    threshold = summary["no_answer_threshold"]
    if threshold is not None and no_answer > answered:
        lines.append(
            f"no answer is where no_answer_score exceeds {threshold:.3g}; a higher --no-answer-threshold, or "
            "--always-answer, gives more"
        )
    if summary["rejected"]:
        reasons = sorted(summary["reject_reasons"].items(), key=lambda item: -item[1])
        shown = [f"{count:,} {reason}" for reason, count in reasons[:_REASONS_SHOWN]]
        if more := len(reasons) - len(shown):
            shown.append(counted(more, "other reason"))
        lines.append(f"rejected: {', '.join(shown)}")
    lines.append(f"model {summary['model']} on {summary['device']} ({summary['backend']}, {summary['precision']})")
    output = "standard output" if summary["output"] == "-" else summary["output"]
    lines.append(f"answers in {output}")
    if summary.get("rejects"):
        lines.append(f"rejected rows in {summary['rejects']}")
    return lines


def sample_texts(sample: Sample) -> tuple[Text, Text]:
    """Return the question with score and id, and the answer highlighted in its context.

    Built from parts, never from markup, so nothing in a corpus is taken for a style.
    """
    from rich.text import Text

    score = "" if sample.score is None else f"  {sample.score:.2f}"
    head = Text(_one_line(_clip(sample.question, _LONGEST_QUESTION)), style="bold")
    head = Text.assemble(head, (f"{score}  {_one_line(_clip(sample.id, 40))}", "dim"))
    if sample.answer_start is None or sample.answer_end is None:
        return head, Text("no answer", style="italic dim")
    before, answer, after = excerpt(sample.context, sample.answer_start, sample.answer_end)
    return head, Text.assemble(before, (answer, "bold black on yellow"), after)


def excerpt(context: str, start: int, end: int) -> tuple[str, str, str]:
    """Return the answer ``context[start:end]`` and what stands around it, each on one line and harmless.

    Either side is cut at a word boundary, marked ``…``, and keeps at most ``AROUND`` characters.
    """
    left, right = max(0, start - AROUND), min(len(context), end + AROUND)
    before, after = context[left:start], context[end:right]
    if left > 0:
        # The first word may have lost its head: leave it out, unless there is no other.
        if not context[left - 1].isspace() and (gap := re.search(r"\s", before)):
            before = before[gap.end() :]
        before = "…" + _without_loose_marks(before)
    if right < len(context):
        if not context[right].isspace() and (gap := re.search(r"\s(?=\S*$)", after)):
            after = after[: gap.start()]
        after = after.rstrip() + "…"
    return _one_line(before), _one_line(_clip(context[start:end], _LONGEST_ANSWER)), _one_line(after)


def _without_loose_marks(text: str) -> str:
    """Drop leading characters that belong to one that was cut off: accents, joiners."""
    for place, char in enumerate(text):
        if not (unicodedata.category(char) in ("Mn", "Me", "Mc") or char in _JOINERS):
            return text[place:].lstrip()
    return ""


def _clip(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half].rstrip()} … {_without_loose_marks(text[-half:])}"


def _one_line(text: str) -> str:
    return harmless(re.sub(r"\r\n|[\n\r\u2028\u2029]", "⏎", text).replace("\t", " "))
