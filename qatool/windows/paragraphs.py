"""Find the ends of the paragraphs of a text from its line breaks.

A blank line ends a paragraph if it follows the end of a sentence, or a line too long to come from wrapped text. So a
heading belongs to the text after it, and a blank line within a sentence ends nothing.

If most single line breaks, too, are in such places, then every line is a paragraph or a sentence, and single breaks
end paragraphs as well. In wrapped text, most of them are elsewhere. Short lines without a full stop, such as headings
and items of lists, count neither way.
"""

from __future__ import annotations

import re

_BREAK = re.compile(r"[\r\n\x85\u2029]\s*")
_LINE_END = re.compile(r"\r\n?|[\n\x85]")
_STOPS = r".!?;\u037e…‥‼⁇⁈⁉‽｡。．！？；」』։؟۔؛।॥။፡።፧፨។៕᠃᠉)\]}）］｝】》〉"
"""Characters that end a sentence, closing brackets included; not the colon, as what it announces follows."""
_BEHIND_STOPS = r"\s\"'“”„‘’«»‹›*_~`¹²³⁰⁴-⁹†‡\u00ad\u200b-\u200f\u2060\ufeff\ufe0f☀-➿\U0001f000-\U0001faff"
"""Characters that may follow those: quotes, marks of Markdown and footnotes, invisible characters, pictographs."""
_CLOSED = re.compile(rf"[{_STOPS}][{_BEHIND_STOPS}]*\Z")
_GOES_ON = re.compile(r"[,،、､，፣:：\-–—/&(\[{]\Z")
_LOOKED_AT = 40
"""How many characters at the end of a line are examined."""
WRAPPED_CHARS = 40
"""Shortest line, in characters, that counts as wrapped if its sentence continues on the next line."""
LONG_CHARS = 200
"""Shortest line, in characters, that is too long to come from wrapped text."""


def paragraph_ends(text: str) -> list[int]:
    """Return the offsets, ascending, at which all paragraphs but the last end, with the white space after them."""
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
    """Return the last ``_LOOKED_AT`` characters before an offset, without trailing white space."""
    while place and text[place - 1].isspace():
        place -= 1
    return text[max(0, place - _LOOKED_AT) : place]
