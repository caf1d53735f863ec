"""Relevance of documents in a collection against a slow BM25."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizerhelpers import pair_tokenizer, questions, texts

from qatool.windows import collection
from qatool.windows.collection import Collection
from qatool.windows.relevance import K1, PAIR_WEIGHT, B
from qatool.windows.terms import NO_TERM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qatool.windows.tokenizer import PairTokenizer


@pytest.fixture(scope="module")
def tokenizer() -> PairTokenizer:
    return pair_tokenizer("wordpiece")


def ranked(
    tokenizer: PairTokenizer, asked: Sequence[str], documents: Sequence[str], *, part: int
) -> list[list[float]]:
    """The relevance of every document to every question; documents come ``part`` at a time."""
    made = Collection(tokenizer.tokenize(asked, offsets=False), tokenizer.terms)
    for first in range(0, len(documents), part):
        made.add(tokenizer.tokenize(documents[first : first + part], offsets=False))
    index = made.index()
    return [index.relevance(question).tolist() for question in range(len(asked))]


def slow(
    tokenizer: PairTokenizer, asked: Sequence[str], documents: Sequence[str], *, passage: int, short: int
) -> list[list[float]]:
    """The same as it is written down: passage by passage, term by term."""

    def ids(text: str) -> list[int]:
        return tokenizer.tokenize([text], offsets=False).input_ids.tolist()

    def terms(tokens: list[int]) -> list[tuple[int, ...]]:
        telling = [term for term in (tokenizer.terms[tokens].tolist() if tokens else []) if term != NO_TERM]
        return [*((one,) for one in telling), *pairwise(telling)]

    passages, owner = [], []
    for number, text in enumerate(documents):
        tokens = ids(text)
        first = 0
        while True:
            passages.append(tokens[first : first + passage])
            owner.append(number)
            if first + passage >= len(tokens):
                break
            first += passage // 2
    lengths = [max(short, len(one)) for one in passages]
    counts = [Counter(terms(one)) for one in passages]
    mean = sum(lengths) / max(1, len(lengths))
    found = []
    for question in asked:
        best = [0.0] * len(documents)
        wanted = {term: sum(one[term] > 0 for one in counts) for term in terms(ids(question))}
        for number, length, count in zip(owner, lengths, counts, strict=True):
            score = 0.0
            for term, containing in wanted.items():
                rarity = math.log1p((len(counts) - containing + 0.5) / (containing + 0.5))
                gain = rarity * count[term] * (K1 + 1) / (count[term] + K1 * (1 - B + B * length / mean))
                score += gain * (PAIR_WEIGHT if len(term) == 2 else 1)
            best[number] = max(best[number], score)
        found.append(best)
    return found


text = st.sampled_from([one[at : at + size] for one in texts()[:12] for at, size in ((0, 0), (9, 60), (30, 400))])


@given(
    asked=st.lists(st.sampled_from(questions()[:30]) | st.sampled_from(["", "the", "?"]), min_size=1, max_size=3),
    documents=st.lists(text, max_size=6),
    part=st.integers(1, 4),
    passage=st.sampled_from([2, 8, 32, 256]),
    short=st.sampled_from([1, 16]),
)
def test_as_bm25_is_written_down(tokenizer, asked, documents, part, passage, short) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collection, "PASSAGE_TOKENS", passage)
        patch.setattr(collection, "_STEP", passage // 2)
        patch.setattr(collection, "SHORT_TOKENS", short)
        found = ranked(tokenizer, asked, documents, part=part)
    np.testing.assert_allclose(found, slow(tokenizer, asked, documents, passage=passage, short=short), rtol=1e-5)


def test_the_same_however_documents_come(tokenizer: PairTokenizer) -> None:
    documents = list(texts())
    found = [ranked(tokenizer, questions()[:20], documents, part=part) for part in (1, 7, 1_000)]
    assert found[0] == found[1] == found[2]


def test_no_document_and_no_term(tokenizer: PairTokenizer) -> None:
    assert ranked(tokenizer, ["Where is the lighthouse?"], [], part=1) == [[]]
    assert ranked(tokenizer, ["the", ""], ["The lighthouse.", ""], part=1) == [[0.0, 0.0]] * 2
    made = Collection(tokenizer.tokenize(["lighthouse"], offsets=False), tokenizer.terms)
    assert made.index().n_passages == 0
