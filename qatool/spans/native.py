"""qatool's own decoding: one distribution over every span of every window and "no answer".

Within a window the model gives each span ``s`` the logit ``span(s)`` and "not here" the logit ``null``. Their
difference, the *margin*, is free of the window's own offset, so margins compare across windows. Spans longer than
two fifths of the longest answer pay for every further token: the limit is soft before it is hard. An example's spans
compete with each other and with "no answer", which has the margin 0::

    margin(s)       = span(s) - null(window of s) - cost(length of s) + prior(window of s)
    mass            = log of the sum of exp(margin) over all legal spans of all windows
    answerable      = sigmoid(slope * mass + bias)
    p(s)            = answerable * exp(margin(s) - mass)
    score(s)        = p(s), and for the best of several spans of the same text, ignoring case, the sum of theirs
                      (among the 20 best spans of the example; the others of them keep their own p)
    no_answer_score = 1 - answerable

With slope 1 and bias 0, where a model is not calibrated, that is one softmax over all spans and "no answer".
The prior is 0 in short documents, and in long ones at most 0: see :mod:`qatool.windows.choose`.
All lie in [0, 1] and, being probabilities of the whole example, compare across examples and documents.
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
"""Share of the longest answer that costs nothing."""
FULL_COST = 9.0
"""Cost a whole longest answer more would have, in logits: 0.3 a token at 30 tokens."""

POOL = 20
"""Best spans of an example that share the probability of equal texts."""


@dataclass(frozen=True)
class LengthCost:
    """What spans pay for their length, in logits; those of one token pay nothing.

    :param max_answer_length: longest answer in tokens
    """

    max_answer_length: int

    def __call__(self, tokens: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return the cost of spans of so many tokens, in the shape of ``tokens``."""
        longest = float(self.max_answer_length)
        return FULL_COST * np.maximum(0.0, tokens / longest - max(FREE_SHARE, 1 / longest))


class NativeDecoder:
    """Ranks spans by their margin over the null span of their window.

    :param top_k: candidates of an example
    :param max_answer_length: longest answer in tokens
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
        with np.errstate(invalid="ignore"):  # a window the model could not read: its example has no number either
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
        """Return the log odds ``(n,)`` that an example has an answer, from the mass of its spans ``(n,)``."""
        there = mass != -np.inf
        log_odds = np.full(len(mass), -np.inf)
        log_odds[there] = self._calibration.answerable_slope * mass[there] + self._calibration.answerable_bias
        return log_odds


def _merged(
    example: NDArray[np.int64], texts: list[str], probability: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Give the first span of each text of an example the probability of all of them.

    :param example: ``(c,)`` ascending, best spans of an example first
    :param texts: ``(c,)``
    :param probability: ``(c,)``
    :returns: the scores ``(c,)``, and whether a span is the first of its text ``(c,)``
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
    """Return ``log(sum(exp(values)))`` of each group of a ragged array, ``-inf`` of an empty one: ``(groups,)``."""
    sizes = np.diff(boundaries)
    mass = np.full(len(sizes), -np.inf)
    np.logaddexp.at(mass, np.repeat(np.arange(len(sizes)), sizes), values)
    return mass
