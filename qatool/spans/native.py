"""qatool's own decoding: one distribution over every span of every window and "no answer".

Within a window the model gives each span ``s`` the logit ``span(s)`` and "not here" the logit ``null``. Their
difference, the *margin*, is free of the window's own offset, so margins compare across windows. An example's
spans compete with each other and with "no answer", which has the margin 0::

    score(s)        = exp(margin(s)) / (1 + sum of exp(margin) over all legal spans of all windows)
    no_answer_score = 1              / (the same sum)

Both lie in [0, 1] and, being probabilities of the whole example, compare across examples and documents.
The formula was chosen by measurement; see ``docs/decisions.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qatool.spans.candidates import Candidates, RankedSpans, best_of_each
from qatool.spans.search import SpanSearch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qatool.spans.decode import ReadWindows


class NativeDecoder:
    """Ranks spans by their margin over the null span of their window.

    :param top_k: candidates of an example
    :param max_answer_length: longest answer in tokens
    :param temperature: divides all logits
    """

    words = False
    strips_question = False
    shares_characters = True

    def __init__(self, *, top_k: int, max_answer_length: int, temperature: float = 1.0) -> None:
        self.search = SpanSearch(top_k=top_k, max_answer_length=max_answer_length, temperature=temperature)

    def rank(self, read: ReadWindows, prior: NDArray[np.floating] | None = None) -> RankedSpans:
        """Return the best spans of every example.

        :param prior: ``(w,)`` log prior of each window, added to the margins of its spans
        """
        spans, windows = read.spans, read.examples.windows
        n_examples = len(windows.n_windows)
        shift = -spans.null_logit.astype(np.float64)
        if prior is not None:
            shift += prior
        candidates = Candidates.of(spans, read.examples)
        margin = candidates.span_logit + shift[candidates.row]
        start = read.characters.start[candidates.first_token]
        end = read.characters.end[candidates.last_token]
        chosen, boundaries = best_of_each(
            candidates.example, margin, start, end, n_examples=n_examples, top_k=self.search.top_k
        )
        total = _log_sum_exp(spans.span_mass + shift, windows.boundaries)
        row = candidates.row[chosen]
        temperature = np.float32(self.search.temperature)
        return RankedSpans(
            boundaries=boundaries,
            start=start[chosen],
            end=end[chosen],
            score=np.exp(margin[chosen] - total[candidates.example[chosen]]).astype(np.float32),
            span_logit=candidates.span_logit[chosen] * temperature,
            null_logit=spans.null_logit[row] * temperature,
            window=windows.window[row],
            no_answer_score=np.where(windows.n_windows > 0, np.exp(-total), np.nan).astype(np.float32),
        )


def _log_sum_exp(values: NDArray[np.floating], boundaries: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return ``log(1 + sum(exp(values)))`` of each group of a ragged array: ``(groups,)``."""
    sizes = np.diff(boundaries)
    peak = np.zeros(len(sizes))
    group = np.repeat(np.arange(len(sizes)), sizes)
    np.maximum.at(peak, group, values)
    total = np.exp(-peak)
    np.add.at(total, group, np.exp(values - peak[group]))
    return np.log(total) + peak
