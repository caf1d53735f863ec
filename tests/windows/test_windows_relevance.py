"""Relevance of windows against a slow BM25, and the choice of windows by it."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import fields, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizerhelpers import FAMILIES, pair_tokenizer, questions, texts

from qatool.windows.build import build_windows
from qatool.windows.choose import (
    AUTO_GAP,
    AUTO_PASSAGES,
    AUTO_TOKENS,
    LEADING_TOKENS,
    PRIOR_WEIGHT,
    SHORT_WINDOWS,
    auto_choice,
    choose_windows,
)
from qatool.windows.cut import Windows, WindowSize, cut_windows
from qatool.windows.passages import WHOLE_TOKENS, passages
from qatool.windows.relevance import K1, PAIR_WEIGHT, SHORT_TOKENS, B, bm25
from qatool.windows.terms import NO_TERM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qatool.windows.assemble import WindowedExamples
    from qatool.windows.tokenizer import PairTokenizer

SIZE = WindowSize(max_length=64, stride=16, question_budget=24)
WIDE = WindowSize(max_length=384, stride=128, question_budget=64)
"""Windows longer than a passage."""
LONG = [text for text in texts() if len(text.split()) > 3_000]


@pytest.fixture(scope="module")
def tokenizer() -> PairTokenizer:
    return pair_tokenizer("wordpiece")


def build(tokenizer: PairTokenizer, asked: list[str], contexts: list[str]) -> WindowedExamples:
    return build_windows(asked, contexts, tokenizer=tokenizer, size=SIZE)


def tokens(examples: WindowedExamples, window: int) -> tuple[list[int], list[int]]:
    """The tokens of a window's question and of its context slice."""
    windows = examples.windows
    sample = windows.overflow_to_sample_mapping[window]
    first = examples.questions.offsets[examples.question_index[sample]]
    question = examples.questions.input_ids[first : first + examples.question_lengths[sample]].tolist()
    first = examples.contexts.offsets[examples.context_index[sample]]
    start, end = windows.context_start[window], windows.context_end[window]
    return question, examples.contexts.input_ids[first + start : first + end].tolist()


def slow_bm25(examples: WindowedExamples, tokenizer: PairTokenizer) -> list[float]:
    """BM25 as it is written down: term by term, window by window."""
    windows, scores = examples.windows, []
    split = [tokens(examples, window) for window in range(len(windows.overflow_to_sample_mapping))]

    def telling(ids: list[int]) -> list[int]:
        return [term for term in tokenizer.terms[ids].tolist() if term != NO_TERM] if ids else []

    lengths = [max(SHORT_TOKENS, len(text)) for _, text in split]
    split = [(telling(question), telling(text)) for question, text in split]
    terms = [Counter([*((one,) for one in text), *pairwise(text)]) for _, text in split]
    for window, sample in enumerate(windows.overflow_to_sample_mapping):
        question, _ = split[window]
        others = range(windows.boundaries[sample], windows.boundaries[sample + 1])
        mean = sum(lengths[other] for other in others) / len(others)
        score = 0.0
        for term in sorted({(one,) for one in question} | set(pairwise(question))):
            containing = sum(terms[other][term] > 0 for other in others)
            rarity = math.log1p((len(others) - containing + 0.5) / (containing + 0.5))
            found = terms[window][term]
            gain = rarity * found * (K1 + 1) / (found + K1 * (1 - B + B * lengths[window] / mean))
            score += gain * (PAIR_WEIGHT if len(term) == 2 else 1)
        scores.append(score)
    return scores


def slow_auto(relevance: Sequence[float], lengths: Sequence[int]) -> dict[int, float]:
    """What ``auto`` reads of a long document, in order, with the prior of each."""
    highest, read = max(relevance), 0
    prior: dict[int, float] = {}
    for at in sorted(range(len(relevance)), key=lambda at: (-relevance[at], at))[:AUTO_PASSAGES]:
        behind = highest - relevance[at]
        if behind < AUTO_GAP or read < AUTO_TOKENS:
            prior[at] = -PRIOR_WEIGHT * min(behind, AUTO_GAP)
            read += lengths[at]
    best = next(iter(prior))
    if lengths[best] < LEADING_TOKENS and best + 1 < len(relevance):
        prior[best + 1] = 0.0
    return dict(sorted(prior.items()))


def test_vectorised_relevance_is_bm25(tokenizer: PairTokenizer) -> None:
    contexts = [text[:2_500] for text in texts()[::3]]
    asked = list(questions()[: len(contexts)])
    examples = build(tokenizer, asked, contexts)
    np.testing.assert_allclose(bm25(examples, tokenizer.terms), slow_bm25(examples, tokenizer), rtol=1e-9, atol=1e-12)


def test_vectorised_relevance_of_passages_is_bm25(tokenizer: PairTokenizer) -> None:
    contexts = [text[:9_000] for text in [*LONG[:3], *texts()[:3]]]
    examples = build_windows(list(questions()[: len(contexts)]), contexts, tokenizer=tokenizer, size=WIDE)
    parts = replace(examples, windows=passages(examples))
    assert len(parts.windows) > len(examples.windows)
    np.testing.assert_allclose(bm25(parts, tokenizer.terms), slow_bm25(parts, tokenizer), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_pairs_reach_over_what_says_nothing(family: str) -> None:
    """Neighbours with commas and function words between them, in windows that begin and end anywhere."""
    tokenizer, dice = pair_tokenizer(family), random.Random(3)
    words = ["river", "keeper", "lagoon", "barometer", "money", ",", "the", "of", "—", "Where", "is"]
    contexts = [" ".join(dice.choices(words, k=300)) for _ in range(4)]
    asked = [" ".join(dice.choices(words, k=9)) for _ in contexts]
    size = WindowSize(max_length=40, stride=3, question_budget=24)
    examples = build_windows(asked, contexts, tokenizer=tokenizer, size=size)
    np.testing.assert_allclose(bm25(examples, tokenizer.terms), slow_bm25(examples, tokenizer), rtol=1e-9, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.text("ab ?你ไ", min_size=1, max_size=12), st.text("ab .你ไ\n", min_size=1, max_size=400)),
        min_size=1,
        max_size=4,
    )
)
def test_relevance_of_any_text(pairs: list[tuple[str, str]]) -> None:
    tokenizer = pair_tokenizer("wordpiece")
    examples = build(tokenizer, [one for one, _ in pairs], [two for _, two in pairs])
    np.testing.assert_allclose(bm25(examples, tokenizer.terms), slow_bm25(examples, tokenizer), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 10_000, "all", "auto"])
def test_the_most_relevant_windows_are_kept_in_order(tokenizer: PairTokenizer, limit: int | str) -> None:
    asked = ["How deep is the lagoon at its deepest point?", "Who had given the barometer?", "money"]
    contexts = [LONG[0], LONG[1], "Short. The money is gone."]
    examples = build(tokenizer, asked, contexts)
    chosen = choose_windows(examples, limit, tokenizer)
    windows, every = chosen.examples.windows, examples.windows
    relevance = bm25(examples, tokenizer.terms)
    assert (windows.n_cut == every.n_windows).all()
    for sample in range(len(asked)):
        mine = slice(windows.boundaries[sample], windows.boundaries[sample + 1])
        n_all = int(every.n_windows[sample])
        wanted = n_all if limit in ("all", "auto") else min(n_all, int(limit))
        kept = windows.window[mine].tolist()
        assert kept == sorted(kept)
        own = relevance[every.boundaries[sample] : every.boundaries[sample + 1]]
        best_first = sorted(range(n_all), key=lambda at: (-own[at], at))[:wanted]
        expected = {at: PRIOR_WEIGHT * (own[at] - own.max()) for at in sorted(best_first)}
        if n_all <= SHORT_WINDOWS:
            expected = dict.fromkeys(expected, 0.0)
        elif limit == "auto":
            expected = slow_auto(own, every.context_length[every.boundaries[sample] :][:n_all])
        assert kept == list(expected)
        prior = np.zeros(len(windows)) if chosen.prior is None else chosen.prior
        np.testing.assert_allclose(prior[mine], list(expected.values()))


@given(
    documents=st.lists(
        st.lists(st.tuples(st.integers(0, 12), st.integers(1, 320)), min_size=6, max_size=12), max_size=3
    )
)
def test_what_auto_reads(documents: list[list[tuple[int, int]]]) -> None:
    """Of documents whose passages have these points of relevance, from 1 on, and these lengths."""
    relevance = np.array([1.0 + one for passages_ in documents for one, _ in passages_])
    lengths = [[length for _, length in passages_] for passages_ in documents]
    windows = Windows(
        overflow_to_sample_mapping=np.repeat(np.arange(len(documents)), list(map(len, documents))),
        window=np.concatenate([np.arange(len(one), dtype=np.int32) for one in documents] or [[]]).astype(np.int32),
        context_start=np.concatenate([np.cumsum([0, *one[:-1]]) for one in lengths] or [[]]).astype(np.int64),
        context_end=np.concatenate([np.cumsum(one) for one in lengths] or [[]]).astype(np.int64),
        n_windows=np.array(list(map(len, documents)), dtype=np.int64),
        n_cut=np.array(list(map(len, documents)), dtype=np.int64),
    )
    kept, prior = auto_choice(windows, relevance)
    for number, one in enumerate(lengths):
        mine = slice(windows.boundaries[number], windows.boundaries[number + 1])
        expected = slow_auto(relevance[mine].tolist(), one)
        assert np.flatnonzero(kept[mine]).tolist() == list(expected)
        np.testing.assert_allclose(prior[mine][kept[mine]], list(expected.values()))


def test_auto_reads_only_the_window_that_stands_out(tokenizer: PairTokenizer) -> None:
    needle = " The quarrelsome zebra xylophonist juggled quinces."
    context = LONG[0] + needle + LONG[1]
    asked = ["Which quarrelsome zebra xylophonist juggled quinces?"]
    examples = build_windows(asked, [context], tokenizer=tokenizer, size=WIDE)
    windows = choose_windows(examples, "auto", tokenizer).examples.windows
    every = passages(examples)
    relevance = bm25(replace(examples, windows=every), tokenizer.terms)
    assert len(windows) == len(slow_auto(relevance, every.context_length))
    assert int((relevance > relevance.max() - AUTO_GAP).sum()) <= len(windows) <= 2
    assert len(choose_windows(examples, AUTO_PASSAGES, tokenizer).examples.windows) == AUTO_PASSAGES


@pytest.mark.parametrize("n_windows", [SHORT_WINDOWS, SHORT_WINDOWS + 1])
def test_where_long_documents_begin(tokenizer: PairTokenizer, n_windows: int) -> None:
    question = "How deep is the lagoon at its deepest point?"
    context = next(
        LONG[0][:end]
        for end in range(50, 4_000, 5)
        if build(tokenizer, [question], [LONG[0][:end]]).windows.n_windows[0] == n_windows
    )
    examples = build(tokenizer, [question], [context])
    for limit in ("auto", "all", n_windows):
        prior = choose_windows(examples, limit, tokenizer).prior
        assert (prior is not None and prior.min() < 0) == (n_windows > SHORT_WINDOWS)


def test_short_documents_are_left_alone(tokenizer: PairTokenizer) -> None:
    examples = build(tokenizer, ["Where?", "Who?"], [LONG[0][:300], LONG[1][:300]])
    assert examples.windows.n_windows.max() <= SHORT_WINDOWS
    chosen = choose_windows(examples, "auto", tokenizer)
    assert chosen.examples is examples
    assert chosen.prior is None


@pytest.mark.parametrize(
    "question", ["长城有多长？", "zzz", "the of", "តើនរណា?", "\U0001f600?", "What is it, the —?"]
)
def test_a_question_that_shares_nothing_is_not_decided_by_noise(tokenizer: PairTokenizer, question: str) -> None:
    examples = build(tokenizer, [question], [LONG[0]])
    n_windows = int(examples.windows.n_windows[0])
    assert bm25(examples, tokenizer.terms).max() < 1
    chosen = choose_windows(examples, "auto", tokenizer)
    assert len(chosen.examples.windows) == n_windows
    assert chosen.prior is not None
    assert (chosen.prior == 0).all()
    spread = choose_windows(examples, 5, tokenizer).examples.windows.window.tolist()
    assert len(spread) == 5
    assert spread[0] == 0
    assert max(np.diff(spread)) - min(np.diff(spread)) <= 1
    assert n_windows - spread[-1] <= max(np.diff(spread)) + 1


@pytest.mark.parametrize("index", range(len(texts())))
def test_no_kept_window_is_changed(tokenizer: PairTokenizer, index: int) -> None:
    examples = build(tokenizer, [questions()[index]], [texts()[index]])
    kept = choose_windows(examples, 3, tokenizer).examples
    by_number = {int(number): row for row, number in enumerate(examples.windows.window)}
    for row, number in enumerate(kept.windows.window):
        assert tokens(kept, row) == tokens(examples, by_number[int(number)])


def test_one_context_of_many_questions_is_chosen_for_each(tokenizer: PairTokenizer) -> None:
    asked = list(questions()[:10])
    together = choose_windows(build(tokenizer, asked, [LONG[0]] * 10), "auto", tokenizer)
    for sample, question in enumerate(asked):
        alone = choose_windows(build(tokenizer, [question], [LONG[0]]), "auto", tokenizer)
        windows = together.examples.windows
        mine = slice(windows.boundaries[sample], windows.boundaries[sample + 1])
        assert windows.window[mine].tolist() == alone.examples.windows.window.tolist()
        assert together.prior is not None
        assert alone.prior is not None
        np.testing.assert_allclose(together.prior[mine], alone.prior)


def test_auto_reads_the_most_relevant_passages(tokenizer: PairTokenizer) -> None:
    asked = ["How deep is the lagoon at its deepest point?", "长城有多长？", "What is gone?"]
    contexts = [LONG[0] * 3, LONG[1] * 3, "Short. The money is gone."]
    examples = build_windows(asked, contexts, tokenizer=tokenizer, size=WIDE)
    every = passages(examples)
    relevance = bm25(replace(examples, windows=every), tokenizer.terms)
    chosen = choose_windows(examples, "auto", tokenizer)
    windows = chosen.examples.windows
    assert windows.n_windows.tolist()[1:] == examples.windows.n_windows.tolist()[1:]
    assert windows.n_cut.tolist() == examples.windows.n_windows.tolist()
    own = relevance[: every.boundaries[1]]
    expected = slow_auto(own, every.context_length[: every.boundaries[1]])
    kept = list(expected)
    mine = slice(0, windows.boundaries[1])
    assert 0 < len(kept) == windows.n_windows[0]
    for name in ("window", "context_start", "context_end"):
        assert getattr(windows, name)[mine].tolist() == getattr(every, name)[kept].tolist()
    assert 0 < windows.context_length[mine].max() <= WHOLE_TOKENS
    assert chosen.prior is not None
    np.testing.assert_allclose(chosen.prior[mine], list(expected.values()))
    assert (chosen.prior[windows.boundaries[1] :] == 0).all()


def is_read(tokenizer: PairTokenizer, question: str, context: str, wanted: str) -> bool:
    """Whether a text of a document stands in one of the passages that ``auto`` reads of it."""
    examples = build_windows([question], [context], tokenizer=tokenizer, size=WIDE)
    assert len(examples.windows) > SHORT_WINDOWS
    windows = choose_windows(examples, "auto", tokenizer).examples.windows
    offsets = examples.contexts.offset_mapping
    assert offsets is not None
    begin = context.index(wanted)
    return any(
        offsets[first, 0] <= begin and begin + len(wanted) <= offsets[last - 1, 1]
        for first, last in zip(windows.context_start, windows.context_end, strict=True)
    )


@pytest.mark.parametrize("asked", range(0, 40, 5))
@pytest.mark.parametrize("layout", ["posts", "list"])
def test_what_repeats_the_question_is_not_all_that_is_read(tokenizer: PairTokenizer, asked: int, layout: str) -> None:
    dice, known = random.Random(asked), sorted(set(" ".join(LONG).lower().split()))
    words = [word for word in known if word.isascii() and word.isalpha() and len(word) > 3]

    def some(count: int) -> list[str]:
        return dice.sample(words, count)

    terms = [some(8) for _ in range(40)]
    questions_ = [f"Which {' '.join(one)}?" for one in terms]
    if layout == "posts":  # the reply shares nothing with the question
        replies = [f"{' '.join(some(40))}." for _ in terms]
        paragraphs = [
            text
            for question, reply in zip(questions_, replies, strict=True)
            for text in (f"Dear all, {question} {' '.join(some(4))}.", reply)
        ]
    else:  # a list of some questions on top; the answers share most of their words
        replies = [f"{' '.join([*dice.sample(one, 6), *some(40)])}." for one in terms]
        paragraphs = ["\n".join(questions_[asked : asked + 3]), *replies]
    assert is_read(tokenizer, questions_[asked], "\n\n".join(paragraphs), replies[asked][:40])


def test_windows_of_different_examples_are_merged_in_order() -> None:
    windows = cut_windows([0] * 4, [500, 0, 90, 700], max_length=200, stride=50, n_special=0)
    odd = np.isin(windows.overflow_to_sample_mapping, [1, 3])
    merged, order = Windows.merged(windows.only(odd), windows.only(~odd))
    for field in fields(Windows):
        np.testing.assert_array_equal(getattr(merged, field.name), getattr(windows, field.name))
    assert order.tolist() == np.argsort(np.concatenate([np.flatnonzero(odd), np.flatnonzero(~odd)])).tolist()
