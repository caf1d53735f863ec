"""The report's page: chosen answers, figures and charts, put together as one HTML file."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from qatool.evaluation.report.assets import SCRIPT, STYLE
from qatool.evaluation.report.markup import isolated, marked, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qatool.evaluation.highlight import Piece
    from qatool.evaluation.report.choice import Group

CARDS_BYTES = 4_000_000
"""Most bytes of all cards together, so that the page stays below 5 MB."""
_CANDIDATES_SHOWN = 5
_REFERENCES_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Card:
    """An answer to show."""

    row: int
    """0-based row in the file of answers."""
    values: Mapping[str, Any]
    """The columns of the answer."""
    groups: Sequence[str]
    """Names of the groups that the answer belongs to."""
    context: Sequence[Piece] | None
    """The context, cut into pieces; ``None`` if unknown."""
    references: Sequence[str] | None
    """The accepted texts; ``None`` if unknown, empty if the question has no answer."""
    exact: float | None
    """EM, 0 or 1; ``None`` if unknown."""
    f1: float | None
    """F1, in [0, 1]; ``None`` if unknown."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number shown at the top of the page."""

    label: str
    value: str
    note: str = ""


class Page(NamedTuple):
    """The page as HTML, and how many of the cards it has room for."""

    text: str
    shown: int
    """How many cards, from the first, are on the page."""


def page(
    *,
    title: str,
    origin: str,
    figures: Sequence[Figure],
    charts: Sequence[tuple[str, str]],
    groups: Sequence[Group],
    cards: Sequence[Card],
    total: int,
) -> Page:
    """Return the page.

    :param title: name of the answers
    :param origin: sentence on what made the answers; may be empty
    :param charts: pairs of caption and SVG element
    :param cards: cards in the order in which to show them, until ``CARDS_BYTES`` are reached
    :param total: number of all answers
    """
    made: list[str] = []
    size = 0
    for card in cards:
        text = _card(card)
        size += len(text.encode("utf-8", "replace"))
        if size > CARDS_BYTES:
            break
        made.append(text)
    members = Counter(chain.from_iterable(card.groups for card in cards[: len(made)]))
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'"
    )
    heads = "".join(
        f"<div><dt>{shown(one.label)}</dt><dd>{shown(one.value)}"
        f"{f'<small>{shown(one.note)}</small>' if one.note else ''}</dd></div>"
        for one in figures
    )
    drawn = "".join(f"<figure><figcaption>{shown(name)}</figcaption>{svg}</figure>" for name, svg in charts)
    text = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{shown(title)}</title><style>{STYLE}</style></head>
<body>
<header><h1>{isolated(title)}</h1>{f'<p class="soft">{isolated(origin)}</p>' if origin else ""}</header>
<main>
<dl class="figures">{heads}</dl>
<section aria-label="Charts"><h2>Charts</h2><div class="charts">{drawn}</div></section>
<section aria-label="Answers"><h2>Answers</h2>
<p class="soft">{shown(_statement(groups, members, len(made), total), longest=2000)}</p>
<div class="bar" hidden role="search">
<input id="search" type="search" placeholder="Search (press /)" aria-label="Search in the answers shown">
<button type="button" data-group="" aria-pressed="true">all</button>{_buttons(groups, members)}
<span id="count" class="soft" role="status"></span></div>
{"".join(made)}
</section>
</main>
<footer class="soft"><p>Keys: / search, j and k next and previous, Escape shows all. Made by qatool.</p></footer>
<script>{SCRIPT}</script>
</body></html>
"""
    return Page(text, len(made))


def _buttons(groups: Sequence[Group], members: Mapping[str, int]) -> str:
    return "".join(
        f'<button type="button" data-group="{group.name}" aria-pressed="false">{group.title}</button>'
        for group in groups
        if members[group.name]
    )


def _statement(groups: Sequence[Group], members: Mapping[str, int], cards: int, total: int) -> str:
    """Return a sentence on how many of all answers are shown.

    :param members: number of cards that belong to each group, by name
    :param cards: number of cards on the page
    :param total: number of all answers
    """
    if cards == total:
        return f"All {total:,} answers are shown. Figures and charts count all of them."
    parts = ", ".join(f"{members[group.name]:,} of {group.total:,} {group.title}" for group in groups)
    return (
        f"{cards:,} of {total:,} answers are shown, a choice: {parts}; an answer may be among several. "
        "Figures and charts count all answers."
    )


def _card(card: Card) -> str:
    values = card.values
    question = "(no question)" if values["question"] is None else values["question"]
    parts = [
        f"<h3>{isolated(question, longest=500)}</h3>",
        f'<p class="tags">{isolated(values["id"], longest=120)} · row {card.row} {_verdict(card)}</p>',
        _decision(values),
    ]
    if card.references is not None:
        distinct = [*dict.fromkeys(card.references)]
        texts = " · ".join(isolated(text, longest=200) for text in distinct[:_REFERENCES_SHOWN])
        parts.append(f"<p>Expected: {texts or 'no answer'}</p>")
    if card.context is not None:
        parts.append(marked(card.context))
    if len(candidates := values.get("candidates") or ()) > 1:
        parts.append(_candidates(candidates))
    return f'<article tabindex="0" data-groups="{" ".join(card.groups)}">{"".join(parts)}</article>\n'


def _verdict(card: Card) -> str:
    if card.exact is None or card.f1 is None:
        return ""
    if card.exact:
        return '<span class="right">right</span>'
    return f'<span class="wrong">wrong, F1 {card.f1:.2f}</span>'


def _decision(values: Mapping[str, Any]) -> str:
    if values["error"] is not None:
        return f'<p class="wrong">Rejected: {isolated(values["error"])}</p>'
    scores = " ".join(
        f"{label} {values[name]:.3f}"
        for label, name in (("score", "score"), ("no-answer score", "no_answer_score"))
        if values.get(name) is not None
    )
    answer = "<em>no answer</em>" if values["answer"] is None else f"<strong>{isolated(values['answer'])}</strong>"
    return f'<p>{answer} <span class="soft">{scores}</span></p>'


def _candidates(candidates: Sequence[Mapping[str, Any]]) -> str:
    rows = "".join(
        f'<li>{isolated(one["answer"], longest=200)} <span class="soft">{one["score"]:.3f}</span></li>'
        for one in candidates[:_CANDIDATES_SHOWN]
    )
    return f"<details><summary>candidates</summary><ol>{rows}</ol></details>"
