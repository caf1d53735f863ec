"""Decode as the SQuAD example script of transformers does (``examples/.../utils_qa.py``).

In each window, the 20 best starts are paired with the 20 best ends of all tokens; pairs that lie outside the context,
end before they start or are too long are dropped. Raw logit sums compete across windows directly, and the score is a
softmax over the 20 best spans of the example. The null score of an example is the least null score of its windows;
``no_answer_score`` is the sigmoid of the null score less the logit sum of the best span.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qatool.spans.candidates import Candidates, RankedSpans, top_k_of_each
from qatool.spans.search import SCRIPT_N_BEST, SpanSearch
from qatool.windows.ragged import positions

if TYPE_CHECKING:
    from qatool.spans.readwindows import ReadWindows


class ScriptDecoder:
    """Ranks spans by their raw logit sums.

    :param top_k: candidates to return for each example, at most; the script has at most 20 x 20 = 400 in a window
    :param max_answer_length: longest answer in tokens
    """

    words = False
    strips_question = True
    shares_characters = False

    def __init__(self, *, top_k: int, max_answer_length: int) -> None:
        self.top_k = top_k
        # More than top_k, as several spans of a window may stand for the same characters: an emoji has many tokens.
        kept = SCRIPT_N_BEST * min(top_k, SCRIPT_N_BEST)
        self.search = SpanSearch(top_k=kept, max_answer_length=max_answer_length, script=True)

    def rank(self, read: ReadWindows) -> RankedSpans:
        """Return the best spans of every example."""
        spans, windows = read.spans, read.examples.windows
        offsets = read.examples.contexts.offset_mapping
        if offsets is None:
            raise ValueError("contexts must be tokenised with offsets")
        n_examples = len(windows.n_windows)
        candidates = Candidates.of(spans, read.examples)
        start = offsets[candidates.first_token, 0].astype(np.int64)
        end = offsets[candidates.last_token, 1].astype(np.int64)
        logit = candidates.span_logit
        # The script keeps a span that two windows share twice, and normalises over the 20 best, doubles included.
        order = np.lexsort((-logit, candidates.example))
        counts = np.bincount(candidates.example, minlength=n_examples)
        rank = positions(counts)
        n_best = order[rank < SCRIPT_N_BEST]
        peak = np.full(n_examples, -np.inf)
        np.maximum.at(peak, candidates.example[n_best], logit[n_best])
        total = np.zeros(n_examples)
        np.add.at(total, candidates.example[n_best], np.exp(logit[n_best] - peak[candidates.example[n_best]]))
        chosen, boundaries = top_k_of_each(
            candidates.example, logit, start, end, n_examples=n_examples, top_k=self.top_k
        )
        example = candidates.example[chosen]
        null = np.full(n_examples, np.inf)
        np.minimum.at(null, windows.overflow_to_sample_mapping, spans.null_logit)
        beyond = np.where(windows.n_windows > 0, null, np.nan) - np.where(np.isfinite(peak), peak, -1e4)
        return RankedSpans(
            boundaries=boundaries,
            start=start[chosen],
            end=end[chosen],
            score=(np.exp(logit[chosen] - peak[example]) / total[example]).astype(np.float32),
            span_logit=logit[chosen],
            null_logit=null[example].astype(np.float32),
            window=windows.window[candidates.row[chosen]],
            no_answer_score=(1 / (1 + np.exp(-np.clip(beyond, -80, 80)))).astype(np.float32),
        )
