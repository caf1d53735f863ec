"""``--best-per question``: rank documents by relevance to each question before the model reads any.

A large collection holds many confident wrong spans. As with the windows of a long document, a document that shares
fewer of the question's rare terms starts with a handicap, and with ``--max-documents`` only the most relevant
documents are asked at all. Ranking takes one pass over the documents; ``docs/many-documents.md`` says what it gains.
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
"""Most documents, and most characters of text, that are tokenised at once."""


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Which document is asked which question, and with what handicap."""

    pairs: AskedPairs | None
    """The pairs of document and question to answer; ``None``: every document is asked every question."""
    prior: NDArray[np.float32]
    """``(pairs,)``: the log prior of the spans of each pair, at most 0, document by document."""
    n_questions: int
    """How many questions are asked of all documents."""
    seconds: float = 0.0
    """The time that ranking took."""

    def question(self, pair: int) -> int:
        """Return the position of a pair's question among all questions."""
        return pair % self.n_questions if self.pairs is None else int(self.pairs.question[pair])


def rank_documents(
    documents: AskedDocuments,
    tokenizer: PairTokenizer,
    *,
    most: int | None,
    refuse_bad: bool = False,
    observer: Observer | None = None,
) -> Ranking | None:
    """Rank the documents for every question that is asked of all of them.

    Bad rows stay paired with every question, so that each pair is rejected, but they are not part of the collection.
    Where a question shares too little with the documents to rank them, it is asked of ``most`` documents spread
    evenly over those that share anything with it or, if none does, over all.

    :param most: documents to ask each question of, at most; ``None`` for all
    :param refuse_bad: whether a bad row is an error
    :returns: the ranking, ``None`` if no question is asked of all documents
    :raises InputError: a file cannot be read or is truncated, or there is a bad row and ``refuse_bad`` is set
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
    """All documents, good and bad."""

    index: CollectionIndex
    """The index of the good documents."""
    is_bad: NDArray[np.bool_]
    """``(documents,)``: which documents are bad rows."""

    def relevance(self, question: int) -> NDArray[np.float64]:
        """Return ``(documents,)``: the relevance of each document to a question, 0 for bad rows."""
        found = np.zeros(len(self.is_bad))
        found[~self.is_bad] = self.index.relevance(question)
        return found


@dataclass(frozen=True, kw_only=True)
class _Ranked:
    """All documents, ranked for one question."""

    relevance: NDArray[np.float64]
    """``(documents,)``: the relevance of each document, 0 for bad rows."""
    prior: NDArray[np.float32]
    """``(documents,)``: the log prior of each document, at most 0."""
    is_telling: bool
    """Whether the question shares enough with any document to tell documents apart."""


def _ranked(pile: _Pile, question: int) -> _Ranked:
    """Rank all documents for a question."""
    relevance = pile.relevance(question)
    best = float(relevance.max(initial=0.0))
    is_telling = best >= WEAK_RELEVANCE
    has_prior = is_telling and pile.index.n_passages > SHORT_WINDOWS
    prior = PRIOR_WEIGHT * (relevance - best) if has_prior else np.zeros(len(relevance))
    return _Ranked(relevance=relevance, prior=prior.astype(np.float32), is_telling=is_telling)


def _of_all(pile: _Pile, n_questions: int) -> Ranking:
    """Return a ranking of all pairs of document and question, each with its prior."""
    prior = np.empty((len(pile.is_bad), n_questions), dtype=np.float32)
    for question in range(n_questions):
        prior[:, question] = _ranked(pile, question).prior
    return Ranking(pairs=None, prior=prior.ravel(), n_questions=n_questions)


def _of_the_best(pile: _Pile, n_questions: int, most: int) -> Ranking:
    """Return a ranking of ``most`` documents for each question, each with its prior."""
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
    # A stable sort keeps the questions of one document in their order.
    order = np.argsort(document, kind="stable")
    boundaries = offsets_of(np.bincount(document, minlength=len(pile.is_bad)))
    return Ranking(
        pairs=AskedPairs(boundaries=boundaries, question=question_of[order]),
        prior=np.concatenate(prior)[order],
        n_questions=n_questions,
    )


def _most_relevant(relevance: NDArray[np.float64], sharing: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return the ``most`` documents of the highest ``relevance (d,)``, earlier ones first among equals.

    :param sharing: ``(s,)``: the documents to choose from, ascending
    """
    order = np.argsort(-relevance[sharing], kind="stable")
    return sharing[order[:most]]


def _spread(documents: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return ``most`` of ``documents (d,)``, spread evenly."""
    count = len(documents)
    return documents if count <= most else documents[np.arange(most) * count // most]
