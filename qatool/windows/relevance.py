"""Relevance of each window to its question, from the terms they share: BM25 within a document.

Source: Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009). The collection is
the example's own windows: a word that occurs in every window of a document does not say where the answer is.
Terms are those of the question's tokens (:mod:`qatool.windows.terms`) and pairs of neighbouring terms, each counted
once. Tokens without a term ("the", a comma, a symbol) are ignored, even between neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qatool.windows.ragged import offsets_of, positions, ranges
from qatool.windows.terms import NO_TERM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from qatool.windows.assemble import WindowedExamples
    from qatool.windows.tokenizer import TokenizedTexts

K1 = 1.2
B = 0.75
SHORT_TOKENS = 128
"""Least length in tokens assumed for a window or passage; otherwise those of a few words would score far too high."""
CELLS = 1 << 21
"""Most counts (of a term in a window) plus occurrences of terms that are in memory at a time."""
PAIR_WEIGHT = 0.8
"""Weight of a pair of neighbouring terms, relative to a single term."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """All ``t`` occurrences of terms in texts, first of single terms, then of pairs of neighbouring terms."""

    term: NDArray[np.int64]
    """``(t,)``: number of the term; numbers of pairs differ from those of single terms."""
    text: NDArray[np.int64]
    """``(t,)``: index of the text."""
    first: NDArray[np.int64]
    """``(t,)``: position of the term's first token in the text."""
    last: NDArray[np.int64]
    """``(t,)``: position of the term's last token in the text."""
    is_pair: NDArray[np.bool_]
    """``(t,)``: whether the term is a pair."""

    @classmethod
    def of(cls, input_ids: NDArray[np.int32], lengths: NDArray[np.int64], *, terms: NDArray[np.int64]) -> Terms:
        """Return the terms of texts.

        :param input_ids: ``(tokens,)``: tokens of all texts, flat
        :param lengths: ``(texts,)``: number of tokens of each text
        :param terms: ``(vocabulary,)``: the term of each token id
        """
        every = terms[input_ids]
        telling = np.flatnonzero(every != NO_TERM)
        single = every[telling]
        text = np.repeat(np.arange(len(lengths)), lengths)[telling]
        position = positions(lengths)[telling]
        before = np.flatnonzero(text[1:] == text[:-1])
        pair = (single[before] + 1) * len(terms) + single[before + 1]
        return cls(
            term=np.concatenate([single, pair]),
            text=np.concatenate([text, text[before]]),
            first=np.concatenate([position, position[before]]),
            last=np.concatenate([position, position[before + 1]]),
            is_pair=np.repeat([False, True], [len(single), len(pair)]),
        )

    def distinct(self) -> Terms:
        """Return each term of a text once, ordered by text and term."""
        order = np.lexsort((self.term, self.text))
        is_first = np.ones(len(order), dtype=bool)
        is_first[1:] = (np.diff(self.term[order]) != 0) | (np.diff(self.text[order]) != 0)
        return self.only(order[is_first])

    def only(self, kept: NDArray[np.int64]) -> Terms:
        """Return the occurrences at the indices ``kept``."""
        return Terms(
            term=self.term[kept],
            text=self.text[kept],
            first=self.first[kept],
            last=self.last[kept],
            is_pair=self.is_pair[kept],
        )


@dataclass(frozen=True, kw_only=True)
class _Index:
    """The ``p`` occurrences of the questions' terms in the contexts, ordered by context and term."""

    vocabulary: NDArray[np.int64]
    """``(v,)``: the terms of all questions, ascending; no others are indexed."""
    key: NDArray[np.int64]
    """``(p,)``: context and term of each occurrence, combined to one number, ascending."""
    first: NDArray[np.int64]
    """``(p,)``: position of the occurrence's first token in the context."""
    last: NDArray[np.int64]
    """``(p,)``: position of its last token."""

    @classmethod
    def of(cls, contexts: TokenizedTexts, vocabulary: NDArray[np.int64], *, terms: NDArray[np.int64]) -> _Index:
        """Return the index of ``contexts`` for the terms in ``vocabulary (v,)``."""
        every = Terms.of(contexts.input_ids, contexts.lengths, terms=terms)
        place = np.minimum(np.searchsorted(vocabulary, every.term), len(vocabulary) - 1)
        known = np.flatnonzero(vocabulary[place] == every.term)
        key = every.text[known] * len(vocabulary) + place[known]
        order = np.argsort(key, kind="stable")
        found = known[order]
        return cls(vocabulary=vocabulary, key=key[order], first=every.first[found], last=every.last[found])

    def find(
        self, context: NDArray[np.int64], term: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the first ``(q,)`` and one past the last ``(q,)`` occurrence of each term in its context."""
        key = context * len(self.vocabulary) + np.searchsorted(self.vocabulary, term)
        return np.searchsorted(self.key, key), np.searchsorted(self.key, key, side="right")

    def occurrences(
        self, examples: WindowedExamples, asked: Terms, boundaries: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return how often the terms of each example's question occur in its context: ``(n,)``.

        :param asked: the terms of all questions
        :param boundaries: ``(questions + 1,)``: boundaries of the questions in ``asked``
        """
        question = examples.question_index
        n_terms = np.diff(boundaries)[question]
        query = ranges(boundaries[question], n_terms)
        first, last = self.find(np.repeat(examples.context_index, n_terms), asked.term[query])
        total = offsets_of(last - first)[offsets_of(n_terms)]
        return np.diff(total)


def bm25(examples: WindowedExamples, terms: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the BM25 score of every window for its question: ``(w,)``.

    Each distinct context is indexed once, however many questions it has; then each occurrence of a term of the
    question is counted for the windows that contain it.

    :param examples: examples, each with all its windows, or passages of them, or with none
    :param terms: ``(vocabulary,)``: the term of each token id
    """
    asked, boundaries = _question_terms(examples, terms)
    relevance = np.zeros(len(examples.windows))
    if not len(asked.term) or not len(relevance):
        return relevance
    index = _Index.of(examples.contexts, np.unique(asked.term), terms=terms)
    n_terms = np.diff(boundaries)[examples.question_index]
    # Occurrences are included, as a document full of one word has many more of them than counts.
    for run in _runs(n_terms * examples.windows.n_windows + index.occurrences(examples, asked, boundaries)):
        chosen = run[examples.windows.n_windows[run] > 0]
        query = ranges(boundaries[examples.question_index[chosen]], n_terms[chosen])
        counted = _Counted.of(examples, index, asked, query=query, sample=np.repeat(chosen, n_terms[chosen]))
        rows = ranges(examples.windows.boundaries[chosen], examples.windows.n_windows[chosen])
        relevance[rows] = counted.score(examples, rows)
    return relevance


def rarity(containing: NDArray[np.int64], passages: NDArray[np.int64] | int) -> NDArray[np.float64]:
    """Return the inverse document frequency, above 0, of terms contained in ``containing`` of ``passages``."""
    found: NDArray[np.float64] = np.log1p((passages - containing + 0.5) / (containing + 0.5))
    return found


def length_discount(relative: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the term for the length of passages, ``relative`` to the mean, in the denominator of :func:`gain`."""
    found: NDArray[np.float64] = K1 * (1 - B + B * relative)
    return found


def gain(rarity: NDArray[np.float64], found: NDArray[np.int64], discount: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what terms that occur ``found`` times in passages add to their scores; repetitions add less and less."""
    return rarity * found * (K1 + 1) / (found + discount)


def _runs(sizes: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield runs of examples whose ``sizes (n,)`` sum to at most ``CELLS``; a larger example is a run of its own."""
    total = np.cumsum(sizes)
    first = 0
    while first < len(sizes):
        done = total[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(total, done + CELLS, side="right")))
        yield np.arange(first, last)
        first = last


@dataclass(frozen=True, kw_only=True)
class _Counted:
    """Counts of each term of a question in each window of its example, in ``c`` cells of a term and a window."""

    found: NDArray[np.int64]
    """``(c,)``: occurrences of the term in the window."""
    window: NDArray[np.int64]
    """``(c,)``: index of the window among all windows."""
    rarity: NDArray[np.float64]
    """``(c,)``: inverse document frequency of the term among the example's windows."""
    is_pair: NDArray[np.bool_]
    """``(c,)``: whether the term is a pair."""

    @classmethod
    def of(
        cls,
        examples: WindowedExamples,
        index: _Index,
        asked: Terms,
        *,
        query: NDArray[np.int64],
        sample: NDArray[np.int64],
    ) -> _Counted:
        """Count terms in the windows of examples.

        :param query: ``(q,)``: indices into ``asked``
        :param sample: ``(q,)``: the example of each
        """
        windows = examples.windows
        n_windows = windows.n_windows[sample]
        cells = offsets_of(n_windows)
        first, last = index.find(examples.context_index[sample], asked.term[query])
        of_query = np.repeat(np.arange(len(query)), last - first)
        occurrence = ranges(first, last - first)
        row = windows.boundaries[sample]
        # Starts and ends of windows ascend, so that the windows that contain an occurrence are consecutive.
        base = int(windows.context_end.max()) + 1
        begins = windows.overflow_to_sample_mapping * base + windows.context_start
        ends = windows.overflow_to_sample_mapping * base + windows.context_end
        document = (sample * base)[of_query]
        lowest = np.searchsorted(ends, document + index.last[occurrence], side="right") - row[of_query]
        highest = np.searchsorted(begins, document + index.first[occurrence], side="right") - 1 - row[of_query]
        holding = np.maximum(highest - lowest + 1, 0)
        cell = ranges(cells[of_query] + lowest, holding)
        found = np.bincount(cell, minlength=int(cells[-1]))
        containing = np.add.reduceat(found > 0, cells[:-1], dtype=np.int64)
        return cls(
            found=found,
            window=ranges(row, n_windows),
            rarity=np.repeat(rarity(containing, n_windows), n_windows),
            is_pair=np.repeat(asked.is_pair[query], n_windows),
        )

    def score(self, examples: WindowedExamples, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the scores of the windows at the indices ``rows (r,)``."""
        windows = examples.windows
        sample = windows.overflow_to_sample_mapping[rows]
        length = np.maximum(windows.context_length[rows], SHORT_TOKENS)
        total = np.bincount(sample, weights=length, minlength=len(windows.n_windows))
        discount = np.zeros(len(windows))
        discount[rows] = length_discount(length * windows.n_windows[sample] / total[sample])
        gained = gain(self.rarity, self.found, discount[self.window])
        weight = np.where(self.is_pair, PAIR_WEIGHT, 1.0)
        score = np.bincount(self.window, weights=weight * gained, minlength=len(windows))
        return score[rows].astype(np.float64)


def _question_terms(examples: WindowedExamples, terms: NDArray[np.int64]) -> tuple[Terms, NDArray[np.int64]]:
    """Return the distinct terms of all questions, and the questions' boundaries ``(questions + 1,)`` in them."""
    questions = examples.questions
    lengths = np.zeros(len(questions.offsets) - 1, dtype=np.int64)
    np.maximum.at(lengths, examples.question_index, examples.question_lengths)
    read = ranges(questions.offsets[:-1], lengths)
    asked = Terms.of(questions.input_ids[read], lengths, terms=terms).distinct()
    return asked, offsets_of(np.bincount(asked.text, minlength=len(lengths)))
