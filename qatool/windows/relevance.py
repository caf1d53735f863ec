"""How relevant each window is to its question, told from shared tokens alone: BM25 within a document.

Source: Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009). The collection is
the example's own windows: a token that stands in every window of a document says nothing of where the answer is.
Terms are the question's distinct tokens and its distinct pairs of neighbouring tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qatool.windows.ragged import offsets_of, ranges

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qatool.windows.assemble import WindowedExamples

K1 = 1.2
B = 0.75
PAIR_WEIGHT = 0.5
"""What a pair of neighbouring tokens counts against a token."""


@dataclass(frozen=True, kw_only=True)
class _Terms:
    """Terms of texts as ragged arrays: token ids, then pairs of them, as numbers that do not collide."""

    term: NDArray[np.int64]
    """``(t,)``"""
    text: NDArray[np.int64]
    """``(t,)``: the text a term stands in."""
    position: NDArray[np.int64]
    """``(t,)``: where its first token stands in the text."""
    is_pair: NDArray[np.bool_]
    """``(t,)``"""

    @classmethod
    def of(cls, input_ids: NDArray[np.int32], lengths: NDArray[np.int64], *, base: int) -> _Terms:
        """List the terms of texts.

        :param input_ids: tokens of all texts, flat
        :param lengths: tokens of each text
        :param base: larger than any token id
        """
        token = input_ids.astype(np.int64)
        text = np.repeat(np.arange(len(lengths)), lengths)
        position = ranges(np.zeros(len(lengths), dtype=np.int64), lengths)
        first = np.flatnonzero(text[1:] == text[:-1])
        pair = (token[first] + 1) * base + token[first + 1]
        return cls(
            term=np.concatenate([token, pair]),
            text=np.concatenate([text, text[first]]),
            position=np.concatenate([position, position[first]]),
            is_pair=np.repeat([False, True], [len(token), len(pair)]),
        )


def bm25(
    examples: WindowedExamples, *, k1: float = K1, b: float = B, pair_weight: float = PAIR_WEIGHT
) -> NDArray[np.float64]:
    """Return the BM25 score ``(w,)`` of every window for the question it is asked.

    Each distinct context is indexed once, whatever the number of its questions.

    :param k1: how soon more of the same term counts no more
    :param b: how much longer windows are discounted
    :param pair_weight: what a pair of neighbouring tokens counts against a token
    """
    windows, sample = examples.windows, examples.windows.overflow_to_sample_mapping
    base = int(max(examples.questions.input_ids.max(initial=0), examples.contexts.input_ids.max(initial=0))) + 1
    terms, boundaries = _question_terms(examples, base=base)
    vocabulary, dense = np.unique(terms.term, return_inverse=True)
    # One query for each window and each term of its question.
    question = examples.question_index[sample]
    count = np.diff(boundaries)[question]
    query = ranges(boundaries[question], count)
    window = np.repeat(np.arange(len(sample)), count)
    found = _occurrences(examples, vocabulary, window, dense[query], terms.is_pair[query], base=base)
    # The same term of the same example, over all of the example's windows.
    n_terms = np.diff(boundaries)[examples.question_index]
    pair = offsets_of(n_terms)[sample[window]] + query - boundaries[question[window]]
    containing = np.bincount(pair, weights=found > 0, minlength=int(n_terms.sum()))[pair]
    rarity = np.log1p((windows.n_windows[sample[window]] - containing + 0.5) / (containing + 0.5))
    length = windows.context_length
    total = np.bincount(sample, weights=length, minlength=len(windows.n_windows))
    discount = k1 * (1 - b + b * length * windows.n_windows[sample] / total[sample])
    gain = rarity * found * (k1 + 1) / (found + discount[window])
    weight = np.where(terms.is_pair[query], pair_weight, 1.0)
    return np.bincount(window, weights=weight * gain, minlength=len(sample)).astype(np.float64)


def _question_terms(examples: WindowedExamples, *, base: int) -> tuple[_Terms, NDArray[np.int64]]:
    """Return the distinct terms of every question, by question, and the boundaries ``(questions + 1,)``."""
    questions = examples.questions
    lengths = np.zeros(len(questions.offsets) - 1, dtype=np.int64)
    np.maximum.at(lengths, examples.question_index, examples.question_lengths)
    read = ranges(questions.offsets[:-1], lengths)
    every = _Terms.of(questions.input_ids[read], lengths, base=base)
    order = np.lexsort((every.term, every.text))
    distinct = np.ones(len(order), dtype=bool)
    distinct[1:] = (np.diff(every.term[order]) != 0) | (np.diff(every.text[order]) != 0)
    kept = order[distinct]
    terms = _Terms(
        term=every.term[kept], text=every.text[kept], position=every.position[kept], is_pair=every.is_pair[kept]
    )
    return terms, offsets_of(np.bincount(terms.text, minlength=len(lengths)))


def _occurrences(
    examples: WindowedExamples,
    vocabulary: NDArray[np.int64],
    window: NDArray[np.int64],
    query: NDArray[np.int64],
    is_pair: NDArray[np.bool_],
    *,
    base: int,
) -> NDArray[np.int64]:
    """Return how often each queried term stands in the context slice of its window: ``(q,)``.

    :param vocabulary: the terms of all questions, ascending; only those are indexed
    :param window: ``(q,)``
    :param query: ``(q,)``: index into ``vocabulary``
    """
    contexts, windows = examples.contexts, examples.windows
    terms = _Terms.of(contexts.input_ids, contexts.lengths, base=base)
    place = np.minimum(np.searchsorted(vocabulary, terms.term), max(len(vocabulary) - 1, 0))
    known = np.flatnonzero(vocabulary[place] == terms.term) if len(vocabulary) else np.empty(0, dtype=np.int64)
    reach = int(contexts.lengths.max(initial=0)) + 1
    index = np.sort((terms.text[known] * len(vocabulary) + place[known]) * reach + terms.position[known])
    context = examples.context_index[windows.overflow_to_sample_mapping[window]]
    key = (context * len(vocabulary) + query) * reach
    # A pair lies within the window when its second token does.
    until = np.searchsorted(index, key + np.maximum(windows.context_end[window] - is_pair, 0))
    since = np.searchsorted(index, key + windows.context_start[window])
    return (until - since).astype(np.int64)
