"""An answer highlighted in its context."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from qatool.logs import harmless

if TYPE_CHECKING:
    from rich.text import Text

    from qatool.extraction.answering.sample import Sample

AROUND = 60
"""Characters of context shown on either side of an answer."""
_LONGEST_ANSWER = 240
_LONGEST_QUESTION = 160
_JOINERS = "\u200d\ufe0e\ufe0f"


def sample_texts(sample: Sample) -> tuple[Text, Text]:
    """Return the question with score and id, and the answer highlighted in its context.

    The texts are not parsed for markup, so that nothing in a corpus can act as a style.
    """
    from rich.text import Text

    score = "" if sample.score is None else f"  {sample.score:.2f}"
    head = Text(_one_line(_clip(sample.question, _LONGEST_QUESTION)), style="bold")
    head = Text.assemble(head, (f"{score}  {_one_line(_clip(sample.id, 40))}", "dim"))
    if sample.answer_start is None or sample.answer_end is None:
        return head, Text("no answer", style="italic dim")
    before, answer, after = answer_in_context(sample.context, sample.answer_start, sample.answer_end)
    return head, Text.assemble(before, (answer, "bold black on yellow"), after)


def answer_in_context(context: str, start: int, end: int) -> tuple[str, str, str]:
    """Return the text before an answer, the answer ``context[start:end]``, and the text after it.

    Each is on one line and harmless. The surrounding text is at most ``AROUND`` characters on either side; where it
    is cut, it ends at a word boundary and with ``…``.
    """
    left, right = max(0, start - AROUND), min(len(context), end + AROUND)
    before, after = context[left:start], context[end:right]
    if left > 0:
        # The first word may be cut off: leave it out, unless it is the only one.
        if not context[left - 1].isspace() and (gap := re.search(r"\s", before)):
            before = before[gap.end() :]
        before = "…" + _without_loose_marks(before)
    if right < len(context):
        if not context[right].isspace() and (gap := re.search(r"\s(?=\S*$)", after)):
            after = after[: gap.start()]
        after = after.rstrip() + "…"
    return _one_line(before), _one_line(_clip(context[start:end], _LONGEST_ANSWER)), _one_line(after)


def _without_loose_marks(text: str) -> str:
    """Return text without leading characters that combine with one that was cut off, such as accents and joiners."""
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
