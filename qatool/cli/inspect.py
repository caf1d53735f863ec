"""``qatool inspect``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from qatool.cli.command import OptionsCommand
from qatool.cli.show.console import console_on
from qatool.cli.show.inspectedanswer import show_answer
from qatool.logs import harmless
from qatool.observers import is_terminal
from qatool.options import InspectOptions

if TYPE_CHECKING:
    from rich.text import Text

    from qatool.commands.inspect import InspectedExample, InspectedWindow


def inspect(options: InspectOptions) -> None:
    """Import what the work needs only now, so that help and errors come at once."""
    from qatool.commands.inspect import InspectedExample, run

    example = run(options)
    if not isinstance(example, InspectedExample):
        show_answer(example)
        return
    lines = _head(example)
    # Of many windows few have a label: those are worth reading.
    shows_all = all(window.label is None for window in example.windows)
    if not is_terminal(sys.stdout):
        for window in example.windows:
            lines += ["", _title(window)]
            if shows_all or window.label is not None:
                lines.append(_plain(window))
        sys.stdout.writelines(f"{harmless(line)}\n" for line in lines)
        return
    from rich.padding import Padding
    from rich.text import Text

    console = console_on(sys.stdout)
    for line in lines:
        console.print(Text(harmless(line), style="bold"))
    for window in example.windows:
        console.print()
        console.print(Text(harmless(_title(window))))
        if shows_all or window.label is not None:
            console.print(Padding(_coloured(window), (0, 2)))


def _head(example: InspectedExample) -> list[str]:
    """Return what is told of the example as a whole."""
    lines = [f"example {example.id} (row {example.row})", f"question: {example.question}"]
    if example.error is not None:
        return [*lines, f"rejected: {example.error}"]
    if example.answers is None:
        lines.append("not labelled")
    elif not example.answers:
        lines.append("unanswerable")
    lines += [f"answer at {start}: {text}" for text, start in example.answers or ()]
    stored = len(example.windows)
    dropped = f", {stored} of them kept" if stored != example.n_windows else ""
    return [*lines, f"windows: {example.n_windows}{dropped}"]


def _title(window: InspectedWindow) -> str:
    first, end = window.context
    title = f"window {window.number}: {len(window.tokens)} tokens, context {first}:{end}, "
    if window.label is None:
        return f"{title}no answer"
    return f"{title}answer {window.label[0]}:{window.label[1]}: {window.label_text}"


def _plain(window: InspectedWindow) -> str:
    """Return the tokens with the answer's in double angle brackets."""
    start, end = window.label or (-1, -1)
    words = [
        f"{'>>' if place == start else ''}{token}{'<<' if place == end - 1 else ''}"
        for place, token in enumerate(window.tokens)
    ]
    return " ".join(words)


def _coloured(window: InspectedWindow) -> Text:
    """Return the tokens with the answer's marked and all but the context's dimmed; nothing is taken for markup."""
    from rich.text import Text

    start, end = window.label or (-1, -1)
    first, behind = window.context
    text = Text()
    for place, token in enumerate(window.tokens):
        style = "bold black on yellow" if start <= place < end else "" if first <= place < behind else "dim"
        text.append(harmless(token), style=style)
        text.append(" ")
    return text


command = OptionsCommand(
    "inspect",
    options_class=InspectOptions,
    callback=inspect,
    help="""Show one example: its windows, their tokens and labels, or its answer and the runners-up.

    For features, lists every window with its label, and shows those that have one. For answers, shows the
    candidates, and with --corpus their context.
    """,
)
