"""Tokens as terms of a search: what counts as the same, what counts as nothing."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizerhelpers import FAMILIES, pair_tokenizer

from qatool.models.named import BUNDLED
from qatool.windows.build import build_windows
from qatool.windows.cut import WindowSize
from qatool.windows.relevance import bm25
from qatool.windows.terms import FUNCTION_WORDS, NO_TERM, terms_of
from qatool.windows.tokenizer import PairTokenizer


def told_apart(*tokens: str) -> list[int]:
    """The terms of tokens that are the whole vocabulary."""
    return terms_of({token: number for number, token in enumerate(tokens)}).tolist()


def test_ending_and_case_do_not_count() -> None:
    assert told_apart("located", "location", "Locate", "local") == [0, 0, 0, 3]
    assert told_apart("state", "states", "stat") == [0, 0, 2]


def test_word_beginnings_do_not_count_and_continuations_do() -> None:
    assert told_apart("▁river", "river", "Rivers") == [0, 0, 0]
    assert told_apart("Ġriver", "river") == [0, 0]
    assert told_apart("river", "##river", "##rivers") == [0, 1, 2]


def test_what_says_nothing_is_no_term() -> None:
    assert told_apart("the", "Where", "▁in", "?", "##'", "▁", "”", "$", "##", "\n") == [NO_TERM] * 10
    assert told_apart("Ġof", "of", "Ġ", "?!") == [NO_TERM] * 4
    assert told_apart("##the") == [0]


@pytest.mark.parametrize(
    "tokens", [("1969", "1970"), ("長", "城"), ("แม่น้ำ", "แม่น้อง"), ("##ั", "##่"), ("covid19", "covid20")]
)
def test_scripts_without_case_and_numbers_stay_whole(tokens: tuple[str, str]) -> None:
    assert told_apart(*tokens) == [0, 1]


def test_letters_that_stand_for_bytes_are_left_alone() -> None:
    # Two bytes of UTF-8 as byte-level vocabularies spell them; "Ã" and "ã" are different bytes.
    assert told_apart("Ġa", "Ã©clair", "ã©clair", "Ã©clairs", "¸") == [NO_TERM, 1, 2, 3, 4]
    assert told_apart("éclair", "Éclairs") == [0, 0]


def test_ids_with_gaps_and_none_at_all() -> None:
    assert terms_of({"deep": 7, "Deep": 3}).tolist() == [0, 1, 2, 3, 4, 5, 6, 3]
    assert terms_of({}).tolist() == []


@pytest.mark.parametrize("family", FAMILIES)
def test_any_tokenizer_has_terms_for_all_that_it_makes(family: str) -> None:
    tokenizer = pair_tokenizer(family)
    made = tokenizer.tokenize(["The tall tenant moved, 1969: 長城 é \U0001f600", " ".join(sorted(FUNCTION_WORDS))])
    terms = tokenizer.terms[made.input_ids]
    assert (terms[: made.offsets[1]] != NO_TERM).any()
    assert terms.min() >= NO_TERM


@pytest.mark.parametrize("question", ["What is its location?", "What was locating it?", "LOCATE the"])
def test_a_question_finds_another_form_of_its_words(question: str) -> None:
    tokenizer = PairTokenizer.load(str(BUNDLED))
    filler = "Nobody on the landing knew what it was, so the tenant waited. " * 12
    context = filler + "The lighthouse was located by sailors. " + filler
    size = WindowSize(max_length=64, stride=16, question_budget=24)
    examples = build_windows([question], [context], tokenizer=tokenizer, size=size)
    relevance = bm25(examples, tokenizer.terms)
    windows, offsets = examples.windows, examples.contexts.offset_mapping
    assert offsets is not None
    found = np.flatnonzero(relevance)
    begins, ends = offsets[windows.context_start[found], 0], offsets[windows.context_end[found] - 1, 1]
    assert len(found)
    assert all("located" in context[begin:end] for begin, end in zip(begins, ends, strict=True))
