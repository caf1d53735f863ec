"""An answer as ``qatool inspect`` shows it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from qatool.cli.show.console import console_on
from qatool.logs import harmless
from qatool.observers import is_terminal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qatool.commands.inspect import InspectedAnswer
    from qatool.evaluation.highlight import Piece

_BEST_STYLE = "bold black on yellow"
_OTHER_STYLE = "underline"


def show_answer(shown: InspectedAnswer) -> None:
    """Show the question, the decision, the candidates and, if known, their context on standard output."""
    lines = _lines(shown)
    context = shown.context
    if not is_terminal(sys.stdout):
        if context is not None:
            lines += ["", "".join(map(_plain, context))]
        sys.stdout.writelines(f"{harmless(line)}\n" for line in lines)
        return
    from rich.padding import Padding
    from rich.text import Text

    console = console_on(sys.stdout)
    for number, line in enumerate(lines):
        console.print(Text(harmless(line), style="bold" if number < 2 else ""))
    if context is not None:
        console.print()
        text = Text()
        for piece in context:
            style = "dim" if piece.is_gap else {None: "", 0: _BEST_STYLE}.get(piece.rank, _OTHER_STYLE)
            text.append(harmless(_flat(piece)), style=style)
        console.print(Padding(text, (0, 2)))


def _lines(shown: InspectedAnswer) -> list[str]:
    values = shown.values
    asked = [] if values["question"] is None else [f"question: {values['question']}"]
    lines = [f"answer {values['id']} (row {shown.row})", *asked]
    if values["error"] is not None:
        return [*lines, f"rejected: {values['error']}"]
    lines += [f"{_decision(values)} (no-answer score {values['no_answer_score']:.4f})", _windows(values)]
    lines += [
        f"{rank}. {one['score']:.4f}  {one['answer_start']}-{one['answer_end']}  {one['answer']}"
        for rank, one in enumerate(shown.candidates, 1)
    ]
    if shown.context is None and shown.candidates:
        lines.append("to see them in their context, name the input with --corpus")
    return lines


def _decision(values: Mapping[str, Any]) -> str:
    if values["answer"] is None:
        return "decided: no answer"
    return f"decided: {values['answer']}"


def _windows(values: Mapping[str, Any]) -> str:
    total, read = values["n_windows"], values["n_windows_read"]
    if not total:
        return "windows: none, the question or the context is empty"
    of_all = "" if read == total else f", {read} of them read"
    return f"windows: {total}{of_all}, the best span in window {values.get('window')}"


def _plain(piece: Piece) -> str:
    """Return a piece as text: the best candidate in ``>>`` and ``<<``, others in ``>`` and ``<`` with their rank."""
    text = _flat(piece)
    if piece.rank is None:
        return text
    return f">>{text}<<" if piece.rank == 0 else f"{piece.rank + 1}>{text}<"


def _flat(piece: Piece) -> str:
    return " … " if piece.is_gap else " ".join(piece.text.split("\n")).replace("\t", " ").replace("\r", " ")
