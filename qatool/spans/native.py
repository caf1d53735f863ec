"""qatool's own decoding: one distribution over every span of every window and "no answer".

Within a window the model gives each span ``s`` the logit ``span(s)`` and "not here" the logit ``null``. Their
difference, the *margin*, does not depend on an offset of all logits of the window, so margins can be compared across
windows. Spans longer than two fifths of the longest answer pay a cost for every further token, so that the length
limit is soft before it is hard. The spans of an example compete with each other and with "no answer", which has the
margin 0::

    margin(s)       = span(s) - null(window of s) - cost(length of s) + prior(window of s)
    mass            = log of the sum of exp(margin) over all legal spans of all windows
    answerable      = sigmoid(slope * mass + bias)
    p(s)            = answerable * exp(margin(s) - mass)
    score(s)        = p(s); but for the best of several spans with the same text, ignoring case, the sum of their p
                      (taken over the 20 best spans of the example, or ``top_k + 10`` if that is more; the others keep
                      their own p)
    no_answer_score = 1 - answerable

With slope 1 and bias 0, which a model has that is not calibrated, this is one softmax over all spans and "no answer".
The prior is 0 in short documents and at most 0 in long ones; see :mod:`qatool.windows.choose`.
All scores lie in [0, 1] and, being probabilities of the whole example, compare across examples and documents.
The formula was chosen by measurement; see ``docs/decisions.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qatool.spans.candidates import Candidates, RankedSpans, top_k_of_each
from qatool.spans.search import SpanSearch
from qatool.windows.ragged import offsets_of, positions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qatool.spans.calibration import Calibration
    from qatool.spans.readwindows import ReadWindows

FREE_SHARE = 0.4
"""Spans up to this share of the longest answer cost nothing."""
FULL_COST = 9.0
"""Cost, in logits, of as many further tokens as the longest answer has: 0.3 a token where that is 30 tokens."""

POOL = 20
"""Number of best spans of an example among which the probabilities of equal texts are added, at least."""


@dataclass(frozen=True)
class LengthCost:
    """The cost of spans for their length, in logits; spans of one token cost nothing.

    :param max_answer_length: longest answer in tokens
    """

    max_answer_length: int

    def __call__(self, tokens: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return the cost of spans with ``tokens`` tokens each, in the shape of ``tokens``."""
        longest = float(self.max_answer_length)
        return FULL_COST * np.maximum(0.0, tokens / longest - max(FREE_SHARE, 1 / longest))


class NativeDecoder:
    """Ranks spans by their margin over the null span of their window.

    :param top_k: candidates to return for each example, at most
    :param max_answer_length: longest answer in tokens
    :param calibration: how logits become probabilities
    """

    words = False
    strips_question = False
    shares_characters = True

    def __init__(self, *, top_k: int, max_answer_length: int, calibration: Calibration) -> None:
        self.top_k = top_k
        self._calibration = calibration
        self._pool = max(POOL, top_k + 10)
        self._cost = LengthCost(max_answer_length)
        self.search = SpanSearch(
            top_k=self._pool,
            max_answer_length=max_answer_length,
            temperature=calibration.temperature,
            length_cost=self._cost,
        )

    def rank(self, read: ReadWindows) -> RankedSpans:
        """Return the best spans of every example."""
        spans, windows = read.spans, read.examples.windows
        n_examples = len(windows.n_windows)
        shift = -spans.null_logit.astype(np.float64)
        if read.prior is not None:
            shift += read.prior
        candidates = Candidates.of(spans, read.examples)
        margin = candidates.span_logit + shift[candidates.row]
        start = read.characters.start[candidates.first_token]
        end = read.characters.end[candidates.last_token]
        pool, _ = top_k_of_each(candidates.example, margin, start, end, n_examples=n_examples, top_k=self._pool)
        example = candidates.example[pool]
        with np.errstate(invalid="ignore"):  # a window that the model could not read makes its example NaN
            mass = _log_sum_exp(spans.span_mass + shift, windows.boundaries)
            log_odds = self._log_odds(mass)
            probability = np.exp(margin[pool] - mass[example] - np.logaddexp(0.0, -log_odds[example]))
            no_answer = np.exp(-np.logaddexp(0.0, log_odds))
        contexts = [read.examples.contexts.texts[i] for i in read.examples.context_index]
        texts = [
            contexts[i][first:last].casefold()
            for i, first, last in zip(example.tolist(), start[pool].tolist(), end[pool].tolist(), strict=True)
        ]
        score, is_first = _merged(example, texts, probability)
        order = np.lexsort((-score, ~is_first, example))
        counts = np.bincount(example, minlength=n_examples)
        rank = positions(counts)
        kept = order[rank < self.top_k]
        kept = kept[np.lexsort((-score[kept], example[kept]))]
        chosen = pool[kept]
        row = candidates.row[chosen]
        tokens = candidates.last_token[chosen] - candidates.first_token[chosen] + 1
        temperature = np.float32(self.search.temperature)
        return RankedSpans(
            boundaries=offsets_of(np.minimum(counts, self.top_k)),
            start=start[chosen],
            end=end[chosen],
            score=score[kept].astype(np.float32),
            span_logit=((candidates.span_logit[chosen] + self._cost(tokens)) * temperature).astype(np.float32),
            null_logit=spans.null_logit[row] * temperature,
            window=windows.window[row],
            no_answer_score=np.where(windows.n_windows > 0, no_answer, np.nan).astype(np.float32),
        )

    def _log_odds(self, mass: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the log odds ``(n,)`` that each example has an answer, from the masses ``(n,)`` of their spans."""
        there = mass != -np.inf
        log_odds = np.full(len(mass), -np.inf)
        log_odds[there] = self._calibration.answerable_slope * mass[there] + self._calibration.answerable_bias
        return log_odds


def _merged(
    example: NDArray[np.int64], texts: list[str], probability: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Give the first of all spans of an example with the same text the sum of their probabilities.

    :param example: ``(c,)``: the example of each span, ascending, with the best spans of an example first
    :param texts: ``(c,)``: the text of each span
    :param probability: ``(c,)``: the probability of each span
    :returns: the scores ``(c,)``, and whether each span is the first with its text ``(c,)``
    """
    firsts: dict[tuple[int, str], int] = {}
    group = np.array(
        [firsts.setdefault(key, place) for place, key in enumerate(zip(example.tolist(), texts, strict=True))],
        dtype=np.int64,
    )
    is_first = group == np.arange(len(group))
    total = np.bincount(group, weights=probability, minlength=len(group))
    return np.where(is_first, np.minimum(total, 1.0), probability), is_first


def _log_sum_exp(values: NDArray[np.floating], boundaries: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return ``(groups,)``: ``log(sum(exp(values)))`` of each group of a ragged array, ``-inf`` for an empty one."""
    sizes = np.diff(boundaries)
    mass = np.full(len(sizes), -np.inf)
    np.logaddexp.at(mass, np.repeat(np.arange(len(sizes)), sizes), values)
    return mass
