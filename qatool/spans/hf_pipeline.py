"""Decode as the question-answering pipeline of transformers 4.57 did (``pipelines/question_answering.py``).

Start and end probabilities are normalised over the context and the null position of each window; the score of a
span is their product. In each window, the ``2 * top_k + 10`` best spans are widened to whole words. Spans of the same
text, ignoring case, are then merged into the first one, and their scores added, so that a score can exceed 1.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qatool.spans.candidates import Candidates, RankedSpans
from qatool.spans.search import SpanSearch
from qatool.windows.ragged import offsets_of
from qatool.windows.tokenizer import NO_WORD

if TYPE_CHECKING:
    from qatool.spans.readwindows import ReadWindows


class _Merged(NamedTuple):
    """All spans of one text: the first candidate, and the sum of all scores."""

    candidate: int
    score: float


class PipelineDecoder:
    """Ranks texts by the sum of the probabilities of their spans.

    :param top_k: candidates to return for each example, at most
    :param max_answer_length: longest answer in tokens, before it is widened to whole words
    """

    words = True
    strips_question = False
    shares_characters = False

    def __init__(self, *, top_k: int, max_answer_length: int) -> None:
        self.top_k = top_k
        self.search = SpanSearch(top_k=2 * top_k + 10, max_answer_length=max_answer_length)

    def rank(self, read: ReadWindows) -> RankedSpans:
        """Return the best spans of every example."""
        spans, windows = read.spans, read.examples.windows
        mass = spans.start_mass + spans.end_mass
        candidates = Candidates.of(spans, read.examples)
        probability = np.exp(candidates.span_logit - mass[candidates.row])
        start, end = widen_to_words(candidates, read)
        per_example = np.searchsorted(candidates.example, np.arange(len(windows.n_windows) + 1))
        context_of = read.examples.context_index
        kept: list[list[_Merged]] = []
        for example, (first, last) in enumerate(pairwise(per_example)):
            context = read.examples.contexts.texts[context_of[example]]
            merged: dict[str, _Merged] = {}
            for i in range(first, last):
                text = context[start[i] : end[i]].lower()
                seen = merged.get(text, _Merged(i, 0.0))
                merged[text] = seen._replace(score=seen.score + float(probability[i]))
            kept.append(sorted(merged.values(), key=lambda one: -one.score)[: self.top_k])
        chosen = np.array([one.candidate for best in kept for one in best], dtype=np.int64)
        row = candidates.row[chosen]
        null = np.full(len(kept), np.inf)
        np.minimum.at(null, windows.overflow_to_sample_mapping, np.exp(spans.null_logit - mass))
        return RankedSpans(
            boundaries=offsets_of(np.fromiter(map(len, kept), np.int64, len(kept))),
            start=start[chosen],
            end=end[chosen],
            score=np.array([one.score for best in kept for one in best], dtype=np.float32),
            span_logit=candidates.span_logit[chosen],
            null_logit=spans.null_logit[row],
            window=windows.window[row],
            no_answer_score=np.where(np.isfinite(null), null, np.nan).astype(np.float32),
        )


def widen_to_words(candidates: Candidates, read: ReadWindows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first and one-past-last character of each candidate, ``(c,)`` each, widened to whole words.

    A span is widened only as far as its window goes. A span that begins or ends with a token that belongs to no word
    keeps its own characters.

    :raises ValueError: the contexts were tokenised without offsets or words
    """
    tokens, windows = read.examples.contexts, read.examples.windows
    if tokens.word_ids is None or tokens.offset_mapping is None:
        raise ValueError("contexts must be tokenised with offsets and words")
    words, offsets = tokens.word_ids, tokens.offset_mapping.astype(np.int64)
    change = np.ones(len(words) + 1, dtype=bool)
    change[1:-1] = words[1:] != words[:-1]
    change[tokens.offsets] = True
    borders = np.flatnonzero(change)
    here = np.zeros_like(candidates.row)
    window_first = read.examples.context_token(candidates.row, here)
    window_last = window_first + windows.context_length[candidates.row] - 1
    first = borders[np.searchsorted(borders, candidates.first_token, side="right") - 1]
    last = borders[np.searchsorted(borders, candidates.last_token, side="right")] - 1
    wordless = (words[candidates.first_token] == NO_WORD) | (words[candidates.last_token] == NO_WORD)
    first = np.where(wordless, candidates.first_token, np.maximum(first, window_first))
    last = np.where(wordless, candidates.last_token, np.minimum(last, window_last))
    return offsets[first, 0], offsets[last, 1]
