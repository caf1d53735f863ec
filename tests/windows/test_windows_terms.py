"""Tokens as terms of a search: what counts as the same, what counts as nothing."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizerhelpers import FAMILIES, pair_tokenizer
from tokenizers.pre_tokenizers import ByteLevel

from qatool.models.named import BUNDLED
from qatool.windows.build import build_windows
from qatool.windows.cut import WindowSize
from qatool.windows.relevance import bm25
from qatool.windows.terms import FUNCTION_WORDS, NO_TERM, terms_of
from qatool.windows.tokenizer import PairTokenizer


def told_apart(*tokens: str, of_bytes: bool = False) -> list[int]:
    """The terms of tokens that are the whole vocabulary."""
    return terms_of({token: number for number, token in enumerate(tokens)}, of_bytes=of_bytes).tolist()


def bytes_of(text: str) -> str:
    """A text as a vocabulary of bytes spells it."""
    return "".join(token for token, _ in ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text))


def test_ending_and_case_do_not_count() -> None:
    assert told_apart("located", "location", "Locate", "local") == [0, 0, 0, 3]
    assert told_apart("state", "states", "stat") == [0, 0, 2]
    assert told_apart("Städte", "städtisch", "Österreich", "österreichs") == [0, 0, 2, 2]


def test_word_beginnings_do_not_count_and_pieces_of_wordpiece_do() -> None:
    assert told_apart("▁river", "river", "Rivers") == [0, 0, 0]
    assert told_apart("Ġriver", "river", of_bytes=True) == [0, 0]
    assert told_apart("river", "##river", "##rivers") == [0, 1, 2]


def test_what_says_nothing_is_no_term() -> None:
    assert told_apart("the", "Where", "?", "##'", "”", "$", "##", "\n", "„") == [NO_TERM] * 9
    assert told_apart("▁in", "▁", "▁?!", "The", "—") == [NO_TERM] * 5
    assert told_apart("Ġof", "Ġ", "?!", "Who", "Ċ", bytes_of("—"), bytes_of(" €"), of_bytes=True) == [NO_TERM] * 7
    assert told_apart(*FUNCTION_WORDS) == [NO_TERM] * 40


def test_a_piece_that_spells_a_function_word_is_a_piece_of_a_name() -> None:
    # "An" + "is": the second half tells it from "Anna".
    assert told_apart("ĠAn", "is", "Ġis", of_bytes=True) == [NO_TERM, 1, NO_TERM]
    assert told_apart("▁An", "is", "▁is") == [NO_TERM, 1, NO_TERM]
    assert told_apart("an", "##is", "is") == [NO_TERM, 1, NO_TERM]


WHOLE = [
    ("1969", "1970"),
    ("covid19", "covid20"),
    ("長城長城長城", "長城長城長江"),
    ("대한민국정부", "대한민국정책"),
    ("ภาษาไทยใหม่", "ภาษาไทยเก่า"),
    ("##ั", "##่"),
]


@pytest.mark.parametrize("tokens", WHOLE)
def test_scripts_without_case_and_numbers_stay_whole(tokens: tuple[str, str]) -> None:
    assert told_apart(*tokens) == [0, 1]


def test_letters_that_stand_for_bytes_are_read_as_what_they_stand_for() -> None:
    tokens = [bytes_of(word) for word in (" éclair", "éclairs", " Éclair", " Àclair", "長", "城")]
    assert told_apart(*tokens, of_bytes=True) == [0, 0, 0, 3, 4, 5]
    # Half a letter is itself, also where its bytes look like letters that differ in case.
    assert told_apart("Ã", "ã", of_bytes=True) == [0, 1]
    # What looks like a mark is a letter where nothing stands for bytes.
    assert told_apart("Ġgantija", "gantija", "Städte", "städte") == [0, 1, 2, 2]


def test_special_tokens_are_no_terms() -> None:
    assert terms_of({"[UNK]": 0, "deep": 1, "[unk]": 2}, special={0}).tolist() == [NO_TERM, 1, 2]


def test_ids_with_gaps_and_none_at_all() -> None:
    assert terms_of({"deep": 7, "Deep": 3}).tolist() == [0, 1, 2, 3, 4, 5, 6, 3]
    assert terms_of({}).tolist() == []


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tokenizer_has_terms_for_all_that_it_makes(family: str) -> None:
    tokenizer = pair_tokenizer(family, added=("zebrafish",))
    made = tokenizer.tokenize(["A zebrafish", "Where is the ?, of: —"])
    terms = tokenizer.terms[made.input_ids]
    assert (terms[: made.offsets[1]] != NO_TERM).any()
    words = [tokenizer.token(number) for number, term in zip(made.input_ids, terms, strict=True) if term != NO_TERM]
    # The vocabularies are small, so "where" may be made of pieces.
    assert not {word.strip("Ġ▁").casefold() for word in words} & {"is", "the", "?", ",", ":", ""}


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
