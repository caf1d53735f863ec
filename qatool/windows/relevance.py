"""How relevant each window is to its question, told from shared terms alone: BM25 within a document.

Source: Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009). The collection is
the example's own windows: a word that stands in every window of a document says nothing of where the answer is.
Terms are what the question's tokens stand for (:mod:`qatool.windows.terms`), each once, and each pair of neighbours
among them once. What says nothing ("the", a comma, a symbol) neither counts nor keeps neighbours apart.
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
"""Shorter windows and passages count as of this length: those of a few words would be the most relevant by far."""
CELLS = 1 << 21
"""Counts of terms in windows, and occurrences of terms, that are held at a time."""
PAIR_WEIGHT = 0.8
"""What a pair of neighbours counts against a single term."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Terms of texts as ragged arrays: single ones, then pairs of them, as numbers that do not collide."""

    term: NDArray[np.int64]
    """``(t,)``"""
    text: NDArray[np.int64]
    """``(t,)``: the text a term stands in."""
    first: NDArray[np.int64]
    """``(t,)``: where its first token stands in the text."""
    last: NDArray[np.int64]
    """``(t,)``: where its last one does."""
    is_pair: NDArray[np.bool_]
    """``(t,)``"""

    @classmethod
    def of(cls, input_ids: NDArray[np.int32], lengths: NDArray[np.int64], *, terms: NDArray[np.int64]) -> Terms:
        """List the terms of texts.

        :param input_ids: tokens of all texts, flat
        :param lengths: tokens of each text
        :param terms: ``(vocabulary,)`` the term of each token id
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
        """Return each term of a text once, by text and term."""
        order = np.lexsort((self.term, self.text))
        is_first = np.ones(len(order), dtype=bool)
        is_first[1:] = (np.diff(self.term[order]) != 0) | (np.diff(self.text[order]) != 0)
        return self.only(order[is_first])

    def only(self, kept: NDArray[np.int64]) -> Terms:
        """Return the terms at the places ``kept``."""
        return Terms(
            term=self.term[kept],
            text=self.text[kept],
            first=self.first[kept],
            last=self.last[kept],
            is_pair=self.is_pair[kept],
        )


@dataclass(frozen=True, kw_only=True)
class _Index:
    """Where the terms of all questions stand in the contexts."""

    vocabulary: NDArray[np.int64]
    """``(v,)``: the terms of all questions, ascending; no others are indexed."""
    key: NDArray[np.int64]
    """``(p,)``: context and term of each occurrence, ascending."""
    first: NDArray[np.int64]
    """``(p,)``: its first token within the context."""
    last: NDArray[np.int64]
    """``(p,)``: its last one."""

    @classmethod
    def of(cls, contexts: TokenizedTexts, vocabulary: NDArray[np.int64], *, terms: NDArray[np.int64]) -> _Index:
        """Index ``contexts``, each once."""
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
        """Return the range ``(q,)``, ``(q,)`` of the occurrences of each term in its context."""
        key = context * len(self.vocabulary) + np.searchsorted(self.vocabulary, term)
        return np.searchsorted(self.key, key), np.searchsorted(self.key, key, side="right")

    def occurrences(
        self, examples: WindowedExamples, asked: Terms, boundaries: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return how often the terms of each example's question stand in its context ``(n,)``.

        :param asked: terms of all questions
        :param boundaries: ``(questions + 1,)`` of these
        """
        question = examples.question_index
        n_terms = np.diff(boundaries)[question]
        query = ranges(boundaries[question], n_terms)
        first, last = self.find(np.repeat(examples.context_index, n_terms), asked.term[query])
        total = offsets_of(last - first)[offsets_of(n_terms)]
        return np.diff(total)


def bm25(examples: WindowedExamples, terms: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the BM25 score ``(w,)`` of every window for the question it is asked.

    Each distinct context is indexed once, whatever the number of its questions; then each occurrence of a term of
    the question is counted for the windows that hold it.

    :param examples: with all windows of each example, or none; passages of them will do as well
    :param terms: ``(vocabulary,)`` the term of each token id
    """
    asked, boundaries = _question_terms(examples, terms)
    relevance = np.zeros(len(examples.windows))
    if not len(asked.term) or not len(relevance):
        return relevance
    index = _Index.of(examples.contexts, np.unique(asked.term), terms=terms)
    n_terms = np.diff(boundaries)[examples.question_index]
    # Where one word fills a document there are many more occurrences than counts.
    for run in _runs(n_terms * examples.windows.n_windows + index.occurrences(examples, asked, boundaries)):
        chosen = run[examples.windows.n_windows[run] > 0]
        query = ranges(boundaries[examples.question_index[chosen]], n_terms[chosen])
        counted = _Counted.of(examples, index, asked, query=query, sample=np.repeat(chosen, n_terms[chosen]))
        rows = ranges(examples.windows.boundaries[chosen], examples.windows.n_windows[chosen])
        relevance[rows] = counted.score(examples, rows)
    return relevance


def rarity(containing: NDArray[np.int64], passages: NDArray[np.int64] | int) -> NDArray[np.float64]:
    """Return the inverse document frequency of terms that ``containing`` of ``passages`` hold, above 0."""
    found: NDArray[np.float64] = np.log1p((passages - containing + 0.5) / (containing + 0.5))
    return found


def length_discount(relative: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what the length of passages, ``relative`` to the mean, makes a gain smaller by: see :func:`gain`."""
    found: NDArray[np.float64] = K1 * (1 - B + B * relative)
    return found


def gain(rarity: NDArray[np.float64], found: NDArray[np.int64], discount: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what terms found so often in passages add to their scores: more of the same counts less and less."""
    return rarity * found * (K1 + 1) / (found + discount)


def _runs(sizes: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield runs of examples whose ``sizes (n,)`` add up to at most ``CELLS``; a larger one stands alone."""
    total = np.cumsum(sizes)
    first = 0
    while first < len(sizes):
        done = total[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(total, done + CELLS, side="right")))
        yield np.arange(first, last)
        first = last


@dataclass(frozen=True, kw_only=True)
class _Counted:
    """How often each term of a question stands in each window: a cell for each of the two, ``c`` in all."""

    found: NDArray[np.int64]
    """``(c,)``"""
    window: NDArray[np.int64]
    """``(c,)``: row of the window among all."""
    rarity: NDArray[np.float64]
    """``(c,)``: inverse document frequency of the term among the example's windows."""
    is_pair: NDArray[np.bool_]
    """``(c,)``"""

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
        """Count the terms ``query (q,)`` in the windows of their examples ``sample (q,)``."""
        windows = examples.windows
        n_windows = windows.n_windows[sample]
        cells = offsets_of(n_windows)
        first, last = index.find(examples.context_index[sample], asked.term[query])
        of_query = np.repeat(np.arange(len(query)), last - first)
        occurrence = ranges(first, last - first)
        row = windows.boundaries[sample]
        # Those with an occurrence are consecutive: windows begin and end one after the other.
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
        """Return the scores of the windows ``rows (r,)``."""
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
    """Return the distinct terms of every question, by question, and the boundaries ``(questions + 1,)``."""
    questions = examples.questions
    lengths = np.zeros(len(questions.offsets) - 1, dtype=np.int64)
    np.maximum.at(lengths, examples.question_index, examples.question_lengths)
    read = ranges(questions.offsets[:-1], lengths)
    asked = Terms.of(questions.input_ids[read], lengths, terms=terms).distinct()
    return asked, offsets_of(np.bincount(asked.text, minlength=len(lengths)))
