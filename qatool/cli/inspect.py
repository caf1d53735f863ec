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
    """Print an example of features with its windows, or an answer with its candidates.

    :raises QatoolError: see :func:`qatool.commands.inspect.run`
    """
    from qatool.commands.inspect import InspectedExample, run

    example = run(options)
    if not isinstance(example, InspectedExample):
        show_answer(example)
        return
    lines = _head(example)
    # Only windows with a label are shown whole, unless no window has one.
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
    """Return the lines about the example as a whole."""
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
    """Return the tokens as text, with those of the answer in ``>>`` and ``<<``."""
    start, end = window.label or (-1, -1)
    words = [
        f"{'>>' if place == start else ''}{token}{'<<' if place == end - 1 else ''}"
        for place, token in enumerate(window.tokens)
    ]
    return " ".join(words)


def _coloured(window: InspectedWindow) -> Text:
    """Return the tokens with those of the answer highlighted and those outside the context dimmed."""
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
