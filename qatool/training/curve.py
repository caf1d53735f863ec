"""Draw the course of a training as one SVG figure: loss and learning rate, EM and F1, over the steps."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qatool.training.callbacks import Entry

_SIZE = (8.0, 3.2)
"""Inches, at 72 points an inch."""


def curve(entries: Sequence[Entry]) -> str:
    """Return the figure as SVG; the same entries give the same text."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "qatool", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=_SIZE, layout="constrained")
        left, right = figure.subplots(1, 2)
        _loss(left, [entry for entry in entries if entry.loss is not None])
        _scores(right, [entry for entry in entries if entry.f1 is not None])
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    return drawn.getvalue()


def _loss(axes: Any, entries: Sequence[Entry]) -> None:
    steps = [entry.step for entry in entries]
    axes.plot(steps, [entry.loss for entry in entries], color="#1f5fa8", linewidth=1)
    axes.set_xlabel("step")
    axes.set_ylabel("loss", color="#1f5fa8")
    axes.set_ylim(bottom=0)
    rate = axes.twinx()
    rate.plot(steps, [entry.learning_rate for entry in entries], color="#b0651c", linewidth=1, linestyle="--")
    rate.set_ylabel("learning rate", color="#b0651c")
    rate.set_ylim(bottom=0)


def _scores(axes: Any, entries: Sequence[Entry]) -> None:
    steps = [entry.step for entry in entries]
    axes.plot(steps, [entry.f1 for entry in entries], color="#1f5fa8", marker="o", label="F1")
    axes.plot(steps, [entry.exact_match for entry in entries], color="#b0651c", marker="s", label="EM")
    axes.set_xlabel("step")
    axes.set_ylabel("validation, per cent")
    if entries:
        axes.legend(loc="lower right")
    else:
        axes.text(0.5, 0.5, "no validation", ha="center", va="center", transform=axes.transAxes)
