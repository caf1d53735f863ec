"""``--best-per question``: how relevant each document is to each question, before the model reads any.

A pile of documents holds many confident wrong spans. As within a long document, what shares fewer of the question's
rare terms starts with a handicap, and with ``--max-documents`` only the most relevant documents are asked at all. One
pass over the documents tells; see ``docs/long-documents.md`` for what it gains.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qatool.files.documents import AskedPairs
from qatool.logs import log_event
from qatool.windows.choose import PRIOR_WEIGHT, SHORT_WINDOWS, WEAK_RELEVANCE
from qatool.windows.collection import Collection
from qatool.windows.ragged import offsets_of
from qatool.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from qatool.files.documents import AskedDocuments
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


def rank_documents(
    documents: AskedDocuments, tokenizer: PairTokenizer, *, most: int | None, observer: Observer
) -> Ranking | None:
    """Rank the documents for every question that is asked of them all; ``None`` if there is no such question.

    Bad rows stay with all their questions, so that each is rejected. Of a question that shares nothing telling with
    any document, ``most`` are spread evenly over all of them.

    :param most: documents that a question is asked of at most, ``None`` for all
    :raises InputError: a file cannot be read or breaks off
    """
    questions = documents.questions_of_all()
    if not questions:
        return None
    collection = Collection(tokenizer.tokenize(questions, offsets=False), tokenizer.terms)
    is_bad: list[bool] = []
    observer.started(documents.total_documents(), "ranking the documents", noun="document")
    for some in _chunks(documents.contexts()):
        is_bad += [context is None for context in some]
        collection.add(tokenizer.tokenize([context or "" for context in some], offsets=False))
        observer.advanced(len(some), 0)
    index, bad = collection.index(), np.array(is_bad, dtype=bool)
    return _of_all(index, len(questions), bad) if most is None else _of_the_best(index, len(questions), bad, most)


def _chunks(contexts: Iterator[str | None]) -> Iterator[list[str | None]]:
    held: list[str | None] = []
    size = 0
    for context in contexts:
        held.append(context)
        size += len(context or "")
        if len(held) == _ROWS or size >= _CHARACTERS:
            yield held
            held, size = [], 0
    if held:
        yield held


@dataclass(frozen=True, kw_only=True)
class _Ranked:
    """Every document for one question."""

    relevance: NDArray[np.float64]
    """``(documents,)``, 0 for bad rows."""
    prior: NDArray[np.float32]
    """``(documents,)``"""
    is_telling: bool
    """Whether the question shares anything with any of them that tells them apart."""


def _ranked(index: CollectionIndex, question: int, is_bad: NDArray[np.bool_]) -> _Ranked:
    """Rank all documents for a question.

    :param is_bad: ``(documents,)``
    """
    relevance = np.where(is_bad, 0.0, index.relevance(question))
    best = float(relevance.max(initial=0.0))
    is_telling = best >= WEAK_RELEVANCE
    has_prior = is_telling and index.n_passages > SHORT_WINDOWS
    prior = PRIOR_WEIGHT * (relevance - best) if has_prior else np.zeros(len(relevance))
    return _Ranked(relevance=relevance, prior=prior.astype(np.float32), is_telling=is_telling)


def _of_all(index: CollectionIndex, n_questions: int, is_bad: NDArray[np.bool_]) -> Ranking:
    """Give every pair of document and question its prior.

    :param is_bad: ``(documents,)``
    """
    prior = np.empty((len(is_bad), n_questions), dtype=np.float32)
    for question in range(n_questions):
        prior[:, question] = _ranked(index, question, is_bad).prior
    return Ranking(pairs=None, prior=prior.ravel())


def _of_the_best(index: CollectionIndex, n_questions: int, is_bad: NDArray[np.bool_], most: int) -> Ranking:
    """Choose ``most`` documents for each question, and give each of them its prior.

    :param is_bad: ``(documents,)``
    """
    good, bad = np.flatnonzero(~is_bad), np.flatnonzero(is_bad)
    chosen, prior, untold = [], [], 0
    for question in range(n_questions):
        ranked = _ranked(index, question, is_bad)
        untold += not ranked.is_telling
        asked = _most_relevant(ranked.relevance, most) if ranked.is_telling else _spread(good, most)
        chosen.append(np.union1d(asked, bad))
        prior.append(ranked.prior[chosen[-1]])
    if untold and most < len(good):
        log_event(
            f"--max-documents: {untold:,} of {counted(n_questions, 'question')} shared nothing telling with any "
            f"document; {most:,} spread over all of them were asked",
            level=logging.WARNING,
        )
    document = np.concatenate(chosen)
    question_of = np.repeat(np.arange(n_questions), [len(one) for one in chosen])
    order = np.lexsort((question_of, document))
    boundaries = offsets_of(np.bincount(document, minlength=len(is_bad)))
    return Ranking(
        pairs=AskedPairs(boundaries=boundaries, question=question_of[order]), prior=np.concatenate(prior)[order]
    )


def _most_relevant(relevance: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """Return the ``most`` documents of the highest ``relevance (d,)`` above 0, earlier ones first among equals."""
    there = np.flatnonzero(relevance > 0)
    order = np.argsort(-relevance[there], kind="stable")
    return np.sort(there[order[:most]])


def _spread(documents: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return ``most`` of ``documents (d,)``, spread evenly."""
    count = len(documents)
    return documents if count <= most else documents[np.arange(most) * count // most]
