"""Where the paragraphs of a text end, told by its line breaks.

A blank line behind the end of a sentence ends one. So a heading belongs to what follows it, and lines that stand
apart in the midst of a sentence belong together. Thai and Lao have no stops: there any blank line ends one.

Where most single line breaks stand behind the end of a sentence, every line is a paragraph, or a sentence of one:
those breaks end one too. In a text that was wrapped, most of them do not. Short lines without a stop, as headings and
items of lists are, tell nothing.
"""

from __future__ import annotations

import re
import unicodedata

_BREAK = re.compile(r"\n\s*|\u2029\s*")
_GOES_ON = frozenset(",،、，-–—/&")
_CLOSING = frozenset({"Po", "Pe", "Pf"})
"""Categories of characters that a sentence may end with: stops and brackets and quotes that close."""
_WRAPPED_CHARS = 40
"""Characters of the shortest line that tells, by going on in the next one, that a text was wrapped."""
_WITHOUT_STOPS = re.compile(r"[\u0e00-\u0eff]")
"""Thai and Lao."""


def paragraph_ends(text: str) -> list[int]:
    """Return where the paragraphs of a text end but for the last one, white space behind them included: ascending."""
    of_blank_lines: list[int] = []
    of_all: list[int] = []
    n_ending = n_wrapped = line = 0
    for found in _BREAK.finditer(text):
        is_blank_line = found[0].count("\n") > 1 or "\u2029" in found[0]
        last = _last_letter(text, found.start())
        if _closes_sentence(last) or (is_blank_line and _WITHOUT_STOPS.match(last)):
            of_all.append(found.end())
            if is_blank_line:
                of_blank_lines.append(found.end())
            else:
                n_ending += 1
        elif not is_blank_line and found.start() - line >= _WRAPPED_CHARS:
            n_wrapped += 1
        line = found.end()
    return of_all if n_ending > n_wrapped else of_blank_lines


def _last_letter(text: str, place: int) -> str:
    """Return what stands in front of a place, white space aside; empty: nothing does."""
    while place and text[place - 1].isspace():
        place -= 1
    return text[place - 1 : place]


def _closes_sentence(letter: str) -> bool:
    return letter != "" and letter not in _GOES_ON and unicodedata.category(letter) in _CLOSING
