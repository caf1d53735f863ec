"""Where the paragraphs of a text end, told by its line breaks.

A blank line ends one where a sentence ends, or a line so long that none was wrapped there. So a heading belongs to
what follows it, and lines that stand apart in the midst of a sentence belong together.

Where most single line breaks stand in such places too, every line is a paragraph, or a sentence of one, and those
breaks end one as well. In a text that was wrapped, most of them do not. Short lines without a stop, as headings and
items of lists are, tell nothing.
"""

from __future__ import annotations

import re

_BREAK = re.compile(r"[\r\n\x85\u2029]\s*")
_LINE_END = re.compile(r"\r\n?|[\n\x85]")
_STOPS = r".!?;\u037e…‥‼⁇⁈⁉‽｡。．！？；」』։؟۔؛।॥။፡።፧፨។៕᠃᠉)\]}）］｝】》〉"
"""What ends a sentence, or what was said beside it; a colon does not, for what it announces follows."""
_BEHIND_STOPS = r"\s\"'“”„‘’«»‹›*_~`¹²³⁰⁴-⁹†‡\u00ad\u200b-\u200f\u2060\ufeff\ufe0f☀-➿\U0001f000-\U0001faff"
"""What may follow: quotes, marks of Markdown and of footnotes, what cannot be seen, and pictures."""
_CLOSED = re.compile(rf"[{_STOPS}][{_BEHIND_STOPS}]*\Z")
_GOES_ON = re.compile(r"[,،、､，፣:：\-–—/&(\[{]\Z")
_LOOKED_AT = 40
"""Characters at the end of a line that tell which it is."""
WRAPPED_CHARS = 40
"""Characters of the shortest line that tells, by going on in the next one, that a text was wrapped."""
LONG_CHARS = 200
"""Characters of the shortest line that no text is wrapped to."""


def paragraph_ends(text: str) -> list[int]:
    """Return where the paragraphs of a text end but for the last one, white space behind them included: ascending."""
    of_blank_lines: list[int] = []
    of_all: list[int] = []
    n_ending = n_wrapped = line = 0
    for found in _BREAK.finditer(text):
        is_blank_line = len(_LINE_END.findall(found[0])) > 1 or "\u2029" in found[0]
        last = _last_letters(text, found.start())
        length = found.start() - line
        if _CLOSED.search(last) or (length >= LONG_CHARS and not _GOES_ON.search(last)):
            of_all.append(found.end())
            if is_blank_line:
                of_blank_lines.append(found.end())
            else:
                n_ending += 1
        elif not is_blank_line and length >= WRAPPED_CHARS:
            n_wrapped += 1
        line = found.end()
    return of_all if n_ending > n_wrapped else of_blank_lines


def _last_letters(text: str, place: int) -> str:
    """Return what stands in front of a place, without the white space between."""
    while place and text[place - 1].isspace():
        place -= 1
    return text[max(0, place - _LOOKED_AT) : place]
