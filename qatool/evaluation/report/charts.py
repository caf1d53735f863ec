"""Charts as static SVG, drawn by matplotlib; their colours are CSS variables, for dark and light pages."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from qatool.errors import EnvironmentUnfitError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_SIZE = (5.2, 3.1)
"""Width and height of a chart in inches, at 72 points an inch."""
# Placeholder colours that occur nowhere else, each replaced by a colour of the page.
_INK, _FIRST, _SECOND, _FAINT = "#010203", "#010204", "#010205", "#010206"
_COLOURS = {_INK: "currentColor", _FIRST: "var(--first)", _SECOND: "var(--second)", _FAINT: "var(--faint)"}
_N_BINS = 40


def require_matplotlib() -> None:
    """Check that matplotlib is installed.

    :raises EnvironmentUnfitError: it is not
    """
    try:
        import matplotlib  # noqa: ICN001 only to see whether it is installed
    except ImportError:
        raise EnvironmentUnfitError(
            "report: needs matplotlib, which is not installed; run: pip install 'qatool[report]'"
        ) from None
    del matplotlib


def _whole_numbers(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def score_chart(given: NDArray[np.float64], withheld: NDArray[np.float64]) -> str:
    """Return a histogram of scores.

    :param given: ``(n,)``: scores of answers given
    :param withheld: ``(m,)``: scores of the best spans where the decision was "no answer"
    """
    axes = _axes("score of the best span", "answers")
    bins = np.linspace(0, 1, _N_BINS + 1)
    parts = [(given, _FIRST, "answered"), (withheld, _SECOND, "no answer")]
    kept = [part for part in parts if len(part[0])]
    if kept:
        axes.hist(
            [values for values, _, _ in kept],
            bins=bins.tolist(),
            stacked=True,
            color=[colour for _, colour, _ in kept],
            label=[label for _, _, label in kept],
        )
        _legend(axes)
    axes.set_xlim(0, 1)
    _whole_numbers(axes)
    return _svg(axes, "Distribution of scores")


def length_chart(lengths: NDArray[np.int64]) -> str:
    """Return a histogram of answer lengths.

    :param lengths: ``(n,)``: lengths in characters
    """
    axes = _axes("characters of the answer", "answers")
    if len(lengths):
        longest = max(10, int(np.percentile(lengths, 99.5)))
        bins = np.linspace(0.5, longest + 0.5, min(_N_BINS, longest) + 1)
        axes.hist(np.minimum(lengths, longest), bins=bins.tolist(), color=_FIRST)
    _whole_numbers(axes)
    return _svg(axes, "Distribution of answer lengths")


def reliability_chart(bins: Sequence[Mapping[str, float]], error: float) -> str:
    """Return a chart of the share of right answers by score.

    :param bins: reliability bins, with ``confidence`` and ``exact``
    :param error: calibration error
    """
    axes = _axes("mean score", "share that is right")
    axes.plot([0, 1], [0, 1], color=_FAINT, linestyle="--", label="as it should be")
    axes.plot(
        [one["confidence"] for one in bins],
        [one["exact"] for one in bins],
        color=_FIRST,
        marker="o",
        markersize=4,
        label=f"calibration error {error:.3f}",
    )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    _legend(axes)
    return _svg(axes, "Reliability of scores")


def precision_recall_chart(points: Sequence[Mapping[str, float]], area: float) -> str:
    """Return a chart of precision against recall for falling thresholds of the score.

    :param points: points of the curve, with ``recall`` and ``precision``
    :param area: area under the curve
    """
    axes = _axes("recall", "precision (exact)")
    recall, precision = ([one[name] for one in points] for name in ("recall", "precision"))
    axes.plot(recall, precision, color=_FIRST, label=f"area {area:.3f}")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    _legend(axes)
    return _svg(axes, "Precision and recall by score")


def speed_chart(entries: Sequence[Mapping[str, float]]) -> str:
    """Return a chart of speed over time.

    :param entries: ``seconds`` since the start, and ``examples`` done by then
    """
    axes = _axes("minutes since the start", "examples a second")
    seconds = np.array([0.0, *(float(one["seconds"]) for one in entries)])
    done = np.array([0.0, *(float(one["examples"]) for one in entries)])
    passed = np.maximum(np.diff(seconds), 1e-9)
    axes.stairs(np.diff(done) / passed, seconds / 60, color=_FIRST, baseline=None)
    axes.set_ylim(bottom=0)
    return _svg(axes, "Speed over time")


def _axes(x_label: str, y_label: str) -> Axes:
    from matplotlib.figure import Figure

    axes: Axes = Figure(figsize=_SIZE, layout="constrained").add_subplot()
    axes.set_xlabel(x_label, color=_INK)
    axes.set_ylabel(y_label, color=_INK)
    axes.tick_params(colors=_INK)
    axes.grid(visible=True, color=_FAINT, linewidth=0.5)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in {"left", "bottom"})
        spine.set_color(_INK)
    return axes


def _legend(axes: Axes) -> None:
    """Put the legend above the plot, where it covers nothing."""
    axes.legend(frameon=False, labelcolor=_INK, fontsize=9, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)


def _svg(axes: Axes, title: str) -> str:
    """Return the SVG element; the same data give the same bytes."""
    from matplotlib import rc_context

    stream = io.StringIO()
    # Text stays text: it is smaller, and screen readers can read it. The salt makes ids unique within a page.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.family": "sans-serif"}):
        about: dict[str, Any] = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        axes.figure.savefig(stream, format="svg", transparent=True, metadata=about)  # type: ignore[union-attr]
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'\s(width|height)="[\d.]+pt"', "", text, count=2)
    # Ids such as "axes_1" would occur in every chart; nothing refers to them.
    text = re.sub(r'<g id="[a-z]+_?[\d_]*">', "<g>", text)
    for stand_in, colour in _COLOURS.items():
        text = text.replace(stand_in, colour)
    return text.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
