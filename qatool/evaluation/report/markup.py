"""Turn text of a corpus into HTML that does nothing but show it."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

from qatool.logs import harmless

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qatool.evaluation.highlight import Piece


# Invisible marks of direction, which harmless() leaves alone; the page spells them out, too.
_MARKS = re.compile("[\u061c\u200e\u200f]")


def shown(text: object, *, longest: int = 400) -> str:
    """Return text for the inside of an element or a quoted attribute.

    Markup is escaped; control characters, and characters that change the direction of text, are spelled out; line
    breaks stay.

    :param longest: characters after which the text is cut
    """
    full = str(text)
    kept = full if len(full) <= longest else f"{full[:longest]}…"
    lines = kept.replace("\r\n", "\n").split("\n")
    spelled = _MARKS.sub(lambda match: f"\\u{ord(match.group()):04x}", "\n".join(map(harmless, lines)))
    return html.escape(spelled, quote=True)


def isolated(text: object, *, longest: int = 400) -> str:
    """Return text in a ``bdi`` element, so that its direction does not change the order of the text around it."""
    return f"<bdi>{shown(text, longest=longest)}</bdi>"


def marked(context: Sequence[Piece]) -> str:
    """Return a context as a paragraph in which candidates are marked, the best one differently."""
    parts = []
    for piece in context:
        text = shown(piece.text, longest=4000)
        if piece.is_gap:
            parts.append('<span class="gap"> … </span>')
        elif piece.rank is None:
            parts.append(text)
        elif piece.rank == 0:
            parts.append(f"<mark>{text}</mark>")
        else:
            parts.append(f'<mark class="other" title="candidate {piece.rank + 1}">{text}</mark>')
    return f'<p class="context" dir="auto">{"".join(parts)}</p>'
