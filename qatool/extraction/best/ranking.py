"""``--best-per question``: how relevant each document is to each question, before the model reads any.

A pile of documents holds many confident wrong spans. As within a long document, what shares fewer of the question's
rare terms starts with a handicap, and with ``--max-documents`` only the most relevant documents are asked at all. One
pass over the documents tells; see ``docs/many-documents.md`` for what it gains.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from qatool.files.examples.documents import AskedPairs
from qatool.files.sources.rows import bad_row
from qatool.logs import log_event
from qatool.observers import SilentObserver
from qatool.windows.choose import PRIOR_WEIGHT, SHORT_WINDOWS, WEAK_RELEVANCE
from qatool.windows.collection import Collection
from qatool.windows.ragged import offsets_of
from qatool.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from qatool.files.examples.documents import AskedDocuments, Document
    from qatool.observers import Observer
    from qatool.windows.collection import CollectionIndex
    from qatool.windows.tokenizer import PairTokenizer

_ROWS, _CHARACTERS = 1_024, 1 << 22
"""Documents that are tokenised at once: so many, or of so much text."""


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Which document is asked which question, and how far behind it starts."""

    pairs: AskedPairs | None
    """``None``: every document is asked every question."""
    prior: NDArray[np.float32]
    """``(pairs,)``: log prior of the spans of each, at most 0, document by document."""
    n_questions: int
    """That are asked of all documents."""
    seconds: float = 0.0
    """It took to rank them."""

    def question(self, pair: int) -> int:
        """Return the place of a pair's question among all."""
        return pair % self.n_questions if self.pairs is None else int(self.pairs.question[pair])


def rank_documents(
    documents: AskedDocuments,
    tokenizer: PairTokenizer,
    *,
    most: int | None,
    refuse_bad: bool = False,
    observer: Observer | None = None,
) -> Ranking | None:
    """Rank the documents for every question that is asked of them all; ``None`` if there is no such question.

    Bad rows stay with all their questions, so that each is rejected; they are no part of the collection. Where a
    question shares too little with the documents to tell them apart, ``most`` of those that share anything with it
    are asked, else of all, spread evenly.

    :param most: documents that a question is asked of at most, ``None`` for all
    :param refuse_bad: whether the first bad row is the end
    :raises InputError: a file cannot be read or breaks off, or holds a bad row and those are refused
    """
    questions = documents.questions_of_all()
    if not questions:
        return None
    collection = Collection(tokenizer.tokenize(questions, offsets=False), tokenizer.terms)
    began = time.monotonic()
    observer = observer or SilentObserver()
    observer.started(documents.total_documents(), "ranking", noun="document")
    is_bad: list[bool] = []
    for some in _chunks(documents.documents()):
        bad = [one for one in some if one.error is not None]
        if bad and refuse_bad:
            raise bad_row(f"{bad[0].where}: {bad[0].error}")
        is_bad += [one.error is not None for one in some]
        good = [one.context or "" for one in some if one.error is None]
        collection.add(tokenizer.tokenize(good, offsets=False))
        observer.advanced(len(some), 0)
    pile = _Pile(index=collection.index(), is_bad=np.array(is_bad, dtype=bool))
    found = _of_all(pile, len(questions)) if most is None else _of_the_best(pile, len(questions), most)
    seconds = time.monotonic() - began
    log_event("ranked", routine=True, documents=len(is_bad), pairs=len(found.prior), seconds=round(seconds, 3))
    return replace(found, seconds=seconds)


def _chunks(documents: Iterator[Document]) -> Iterator[list[Document]]:
    held: list[Document] = []
    size = 0
    for document in documents:
        held.append(document)
        size += len(document.context or "")
        if len(held) == _ROWS or size >= _CHARACTERS:
            yield held
            held, size = [], 0
    if held:
        yield held


@dataclass(frozen=True, kw_only=True)
class _Pile:
    """The documents."""

    index: CollectionIndex
    """Of the good ones."""
    is_bad: NDArray[np.bool_]
    """``(documents,)``"""

    def relevance(self, question: int) -> NDArray[np.float64]:
        """Return how relevant each is to a question: ``(documents,)``, 0 for bad rows."""
        found = np.zeros(len(self.is_bad))
        found[~self.is_bad] = self.index.relevance(question)
        return found


@dataclass(frozen=True, kw_only=True)
class _Ranked:
    """Every document for one question."""

    relevance: NDArray[np.float64]
    """``(documents,)``, 0 for bad rows."""
    prior: NDArray[np.float32]
    """``(documents,)``"""
    is_telling: bool
    """Whether the question shares anything with any of them that tells them apart."""


def _ranked(pile: _Pile, question: int) -> _Ranked:
    """Rank all documents for a question."""
    relevance = pile.relevance(question)
    best = float(relevance.max(initial=0.0))
    is_telling = best >= WEAK_RELEVANCE
    has_prior = is_telling and pile.index.n_passages > SHORT_WINDOWS
    prior = PRIOR_WEIGHT * (relevance - best) if has_prior else np.zeros(len(relevance))
    return _Ranked(relevance=relevance, prior=prior.astype(np.float32), is_telling=is_telling)


def _of_all(pile: _Pile, n_questions: int) -> Ranking:
    """Give every pair of document and question its prior."""
    prior = np.empty((len(pile.is_bad), n_questions), dtype=np.float32)
    for question in range(n_questions):
        prior[:, question] = _ranked(pile, question).prior
    return Ranking(pairs=None, prior=prior.ravel(), n_questions=n_questions)


def _of_the_best(pile: _Pile, n_questions: int, most: int) -> Ranking:
    """Choose ``most`` documents for each question, and give each of them its prior."""
    good, bad = np.flatnonzero(~pile.is_bad), np.flatnonzero(pile.is_bad)
    chosen, prior, untold = [], [], 0
    for question in range(n_questions):
        ranked = _ranked(pile, question)
        sharing = np.flatnonzero(ranked.relevance > 0)
        if ranked.is_telling:
            asked = _most_relevant(ranked.relevance, sharing, most)
        else:
            untold += 1
            asked = _spread(sharing if len(sharing) else good, most)
        chosen.append(np.union1d(asked, bad).astype(np.int32))
        prior.append(ranked.prior[chosen[-1]])
    if untold and most < len(good):
        log_event(
            f"--max-documents {most}: {untold:,} of {counted(n_questions, 'question')} shared too little with any "
            "document to tell which are relevant; those asked are spread over the collection",
            level=logging.WARNING,
        )
    document = np.concatenate(chosen)
    question_of = np.repeat(np.arange(n_questions, dtype=np.int32), [len(one) for one in chosen])
    # Of one document, questions stay in their order.
    order = np.argsort(document, kind="stable")
    boundaries = offsets_of(np.bincount(document, minlength=len(pile.is_bad)))
    return Ranking(
        pairs=AskedPairs(boundaries=boundaries, question=question_of[order]),
        prior=np.concatenate(prior)[order],
        n_questions=n_questions,
    )


def _most_relevant(relevance: NDArray[np.float64], sharing: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return the ``most`` documents of the highest ``relevance (d,)``, earlier ones first among equals.

    :param sharing: ``(s,)``: those to choose from, ascending
    """
    order = np.argsort(-relevance[sharing], kind="stable")
    return sharing[order[:most]]


def _spread(documents: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return ``most`` of ``documents (d,)``, spread evenly."""
    count = len(documents)
    return documents if count <= most else documents[np.arange(most) * count // most]
