"""Relevance of each document of a collection to each question: BM25 over the passages of all documents.

Terms and formula are those of :mod:`qatool.windows.relevance`, which compares the windows of one document. Here, the
collection is every passage of every document, and a document is as relevant as its best passage. All that is kept of
the documents is how often the terms of the questions occur in each passage.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qatool.windows.ragged import offsets_of, positions, ranges
from qatool.windows.relevance import PAIR_WEIGHT, SHORT_TOKENS, Terms, gain, length_discount, rarity

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qatool.windows.tokenizer import TokenizedTexts

PASSAGE_TOKENS = 256
"""Tokens of a passage; a shorter document is one passage."""
_STEP = PASSAGE_TOKENS // 2
"""Tokens from the start of a passage to the start of the next."""


@dataclass(frozen=True, kw_only=True)
class _Postings:
    """The ``p`` pairs of a term and a passage that contains it, ordered by term, then by passage."""

    term: NDArray[np.int32]
    """``(p,)``: index of the term in the vocabulary."""
    passage: NDArray[np.int32]
    """``(p,)``: number of the passage in the collection."""
    found: NDArray[np.int16]
    """``(p,)``: occurrences of the term in the passage."""


class Collection:
    """Collects the documents to be ranked for questions that are known beforehand.

    :param questions: the questions; their offsets are not needed
    :param terms: ``(vocabulary,)``: the term of each token id, see :mod:`qatool.windows.terms`
    """

    def __init__(self, questions: TokenizedTexts, terms: NDArray[np.int64]) -> None:
        self._terms = terms
        asked = Terms.of(questions.input_ids, questions.lengths, terms=terms).distinct()
        self._vocabulary, first = np.unique(asked.term, return_index=True)
        self._weight = np.where(asked.is_pair[first], PAIR_WEIGHT, 1.0)
        self._query = np.searchsorted(self._vocabulary, asked.term)
        self._boundaries = offsets_of(np.bincount(asked.text, minlength=len(questions.lengths)))
        self._postings: deque[_Postings] = deque()
        self._containing = np.zeros(len(self._vocabulary), dtype=np.int64)
        """``(vocabulary,)``: number of passages that contain each term."""
        self._lengths: list[NDArray[np.int16]] = []
        self._n_passages: list[NDArray[np.int64]] = []
        self._passages = 0

    def add(self, documents: TokenizedTexts) -> None:
        """Add the next documents; their offsets are not needed."""
        lengths = documents.lengths
        n_passages = np.maximum(-(-(lengths - PASSAGE_TOKENS) // _STEP), 0) + 1
        position = positions(n_passages)
        length = np.clip(np.repeat(lengths, n_passages) - position * _STEP, 0, PASSAGE_TOKENS)
        self._n_passages.append(n_passages)
        self._lengths.append(np.maximum(length, SHORT_TOKENS).astype(np.int16))
        if len(self._vocabulary):
            found = self._find(documents, n_passages)
            self._postings.append(found)
            self._containing += np.bincount(found.term, minlength=len(self._vocabulary))
        self._passages += len(length)

    def _find(self, documents: TokenizedTexts, n_passages: NDArray[np.int64]) -> _Postings:
        """Count the occurrences of the questions' terms in each passage of the documents."""
        every = Terms.of(documents.input_ids, documents.lengths, terms=self._terms)
        place = np.minimum(np.searchsorted(self._vocabulary, every.term), len(self._vocabulary) - 1)
        known = np.flatnonzero(self._vocabulary[place] == every.term)
        text, first, last = every.text[known], every.first[known], every.last[known]
        highest = np.minimum(first // _STEP, n_passages[text] - 1)
        lowest = np.maximum(-(-(last + 1 - PASSAGE_TOKENS) // _STEP), 0)
        # No passage contains both terms of a pair that are too far apart: then this is 0.
        holding = np.maximum(highest - lowest + 1, 0)
        begins = offsets_of(n_passages)
        passage = ranges(begins[text] + lowest, holding)
        pair, found = np.unique(np.repeat(place[known], holding) * begins[-1] + passage, return_counts=True)
        return _Postings(
            term=(pair // begins[-1]).astype(np.int32),
            passage=(pair % begins[-1] + self._passages).astype(np.int32),
            found=found.astype(np.int16),
        )

    def index(self) -> CollectionIndex:
        """Return an index of the documents, and release what was collected: to be called once, at the end."""
        length = np.concatenate([np.zeros(0, dtype=np.int16), *self._lengths])
        discount = length_discount(length / max(1.0, length.mean())) if len(length) else np.zeros(0)
        weight = self._weight * rarity(self._containing, self._passages)
        postings = offsets_of(self._containing)
        passage, gained = np.empty(postings[-1], dtype=np.int32), np.empty(postings[-1], dtype=np.float32)
        filled = postings[:-1].copy()
        while self._postings:
            # Released one by one, so that few postings are in memory twice.
            one = self._postings.popleft()
            place = filled[one.term] + np.arange(len(one.term)) - np.searchsorted(one.term, one.term)
            passage[place] = one.passage
            gained[place] = gain(weight[one.term], one.found.astype(np.int64), discount[one.passage])
            filled += np.bincount(one.term, minlength=len(filled))
        return CollectionIndex(
            query=self._query,
            boundaries=self._boundaries,
            passage=passage,
            gain=gained,
            postings=postings,
            begins=offsets_of(np.concatenate([np.zeros(0, dtype=np.int64), *self._n_passages])),
        )


@dataclass(frozen=True, kw_only=True)
class CollectionIndex:
    """What each term of the questions adds to the score of each passage that contains it."""

    query: NDArray[np.int64]
    """``(t,)``: the terms of all questions, as indices into the vocabulary, ordered by question."""
    boundaries: NDArray[np.int64]
    """``(questions + 1,)``: boundaries of the questions in ``query``."""
    passage: NDArray[np.int32]
    """``(p,)``: passages that contain a term, ordered by term."""
    gain: NDArray[np.float32]
    """``(p,)``: what the term adds to the score of the passage."""
    postings: NDArray[np.int64]
    """``(vocabulary + 1,)``: boundaries of the terms in ``passage`` and ``gain``."""
    begins: NDArray[np.int64]
    """``(documents + 1,)``: number of the first passage of each document."""

    @property
    def n_passages(self) -> int:
        """The number of passages of all documents."""
        return int(self.begins[-1])

    def relevance(self, question: int) -> NDArray[np.float64]:
        """Return the relevance of each document to a question: ``(documents,)``, 0 if it shares no term."""
        if not self.n_passages:
            return np.zeros(0)
        terms = self.query[self.boundaries[question] : self.boundaries[question + 1]]
        where = ranges(self.postings[terms], self.postings[terms + 1] - self.postings[terms])
        score = np.bincount(self.passage[where], weights=self.gain[where], minlength=self.n_passages)
        best: NDArray[np.float64] = np.maximum.reduceat(score, self.begins[:-1])
        return best
