"""The summary of a run: the counts, the speed, and a few answers in their contexts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TextIO

from qatool.cli.show.console import console_on
from qatool.cli.show.sample import sample_texts
from qatool.logs import harmless
from qatool.observers import is_terminal
from qatool.wording import counted, duration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qatool.extraction.answering.sample import Sample

_REASONS_SHOWN = 5


def show_summary(summary: Mapping[str, Any], samples: Sequence[Sample], *, stream: TextIO) -> None:
    """Show ``summary`` on ``stream`` as plain lines; on a terminal, with colours and with samples.

    :param summary: counts ``examples``, ``answered``, ``no_answer``, ``odd``, ``rejected``, ``taken_over``,
        ``truncated_questions``, ``windows``, ``windows_read``, and with ``--best-per`` ``questions`` and
        ``questions_answered``; ``reject_reasons`` (count by reason); ``seconds``, ``examples_per_second``,
        ``windows_per_second``; ``no_answer_threshold`` (``None``: every question is answered); ``output``,
        ``rejects`` (path or ``None``); ``model``, ``device``, ``backend``, ``precision``
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
    if summary["truncated_questions"]:
        lines.append(
            f"{counted(summary['truncated_questions'], 'example')} with a question cut to the length of "
            "--max-question-length"
        )
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
