"""Tokens that share characters act as one; tokens of no character never start or end a span."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from decodehelpers import SlowWindow, character_spans, read, slow_windows, whole, windows_of
from hypothesis import given, settings
from hypothesis import strategies as st
from spanhelpers import log_sum_exp
from tokenizerhelpers import FAMILIES, texts

from qatool.spans.characters import ContextCharacters
from qatool.spans.decode import decoder
from qatool.windows.ragged import offsets_of
from qatool.windows.tokenizer import TokenizedTexts


def tokens_at(contexts: list[str], offsets: list[list[tuple[int, int]]]) -> TokenizedTexts:
    """Tokens that stand where the test says."""
    flat = [span for one in offsets for span in one]
    return TokenizedTexts(
        texts=contexts,
        input_ids=np.zeros(len(flat), dtype=np.int32),
        offsets=offsets_of(np.array([len(one) for one in offsets])),
        offset_mapping=np.array(flat, dtype=np.int32).reshape(-1, 2),
    )


def test_every_token_for_itself() -> None:
    found = ContextCharacters.of(tokens_at(["ab cd", "e"], [[(0, 1), (1, 2), (3, 5)], [(0, 1)]]))
    assert found.plain
    assert found.start_token.tolist() == found.end_token.tolist() == [0, 1, 2, 3]
    assert found.start.tolist() == [0, 1, 3, 0]
    assert found.end.tolist() == [1, 2, 5, 1]


def test_white_space_is_trimmed() -> None:
    text = "\u3000a\x85\x1c b\u00a0"
    found = ContextCharacters.of(tokens_at([text], [[(0, 3), (3, 4), (4, 7)]]))
    assert found.start.tolist()[::2] == [1, 5]
    assert found.end.tolist()[::2] == [2, 6]
    assert found.start_token.tolist() == [0, -1, 2]
    assert found.end_token.tolist() == [0, -1, 2]


def test_trimming_knows_all_white_space() -> None:
    spaces = [chr(code) for code in range(0x110000) if chr(code).isspace()]
    text = "".join(f"{space}x" for space in spaces)
    found = ContextCharacters.of(tokens_at([text], [[(2 * i, 2 * i + 2) for i in range(len(spaces))]]))
    assert found.start.tolist() == [2 * i + 1 for i in range(len(spaces))]


def test_bytes_of_an_emoji_are_one() -> None:
    found = ContextCharacters.of(tokens_at(["x\U0001f600y"], [[(0, 1), (1, 2), (1, 2), (1, 2), (2, 3)]]))
    assert not found.plain
    assert found.start_token.tolist() == [0, 1, 1, 1, 4]
    assert found.end_token.tolist() == [0, 3, 3, 3, 4]


def test_a_letter_keeps_its_combining_marks() -> None:
    """Tokenizers that strip accents have no token for them; in others, they may be tokens of their own."""
    text = "Zoe\u0308 saw Rene\u0301\u0323."
    stripped = ContextCharacters.of(tokens_at([text], [[(0, 3), (5, 8), (9, 13), (15, 16)]]))
    assert stripped.end.tolist() == [4, 8, 15, 16]
    assert stripped.start.tolist() == [0, 5, 9, 15]
    assert stripped.plain
    apart = ContextCharacters.of(tokens_at([text[:4]], [[(0, 2), (2, 3), (3, 4)]]))
    assert (apart.start.tolist(), apart.end.tolist()) == ([0, 2, 2], [2, 4, 4])
    assert apart.start_token.tolist() == [0, 1, 1]
    assert apart.end_token.tolist() == [0, 2, 2]


def test_marks_without_a_letter_join_nothing() -> None:
    """A context that begins with one does not lend it to the context before; white space carries none."""
    found = ContextCharacters.of(
        tokens_at(["ab", "\u0301c", "d \u0301"], [[(0, 2)], [(0, 1), (1, 2)], [(0, 1), (2, 3)]])
    )
    assert found.plain
    assert found.start.tolist() == [0, 0, 1, 0, 2]
    assert found.end.tolist() == [2, 1, 2, 1, 3]


def test_marks_are_those_of_unicode() -> None:
    marks = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)).startswith("M")]
    text = "".join(f"x{mark}" for mark in marks)
    found = ContextCharacters.of(tokens_at([text], [[(2 * i, 2 * i + 1) for i in range(len(marks))]]))
    assert found.end.tolist() == [2 * i + 2 for i in range(len(marks))]


def test_empty_tokens_stand_for_no_neighbour() -> None:
    """A blank before a word begins where the word does, an empty token ends where the one before it does."""
    blank_first = ContextCharacters.of(tokens_at(["a b"], [[(0, 1), (1, 2), (2, 3)]]))
    assert blank_first.start_token.tolist() == [0, -1, 2]
    empty_last = ContextCharacters.of(tokens_at(["ab"], [[(0, 1), (1, 1), (1, 2), (2, 2)]]))
    assert empty_last.end_token.tolist() == [0, -1, 2, -1]
    assert empty_last.start_token.tolist() == [0, -1, 2, -1]


def test_contexts_do_not_mix() -> None:
    found = ContextCharacters.of(tokens_at(["a ", "b"], [[(0, 1), (1, 2)], [(0, 0), (0, 1)]]))
    assert found.start_token.tolist() == [0, -1, -1, 3]
    assert found.end_token.tolist() == [0, -1, -1, 3]


def test_no_tokens() -> None:
    assert ContextCharacters.of(tokens_at([], [])).plain
    assert ContextCharacters.of(tokens_at(["", ""], [[], []])).plain


def test_offsets_are_needed() -> None:
    tokens = TokenizedTexts(texts=[], input_ids=np.empty(0, np.int32), offsets=np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="must be tokenised with offsets"):
        ContextCharacters.of(tokens)


@st.composite
def overlapping_tokens(draw) -> tuple[str, list[tuple[int, int]]]:
    """A text and tokens in order, some empty, some of the same characters."""
    text = draw(st.text(alphabet="ab \t\u0301\u0308", min_size=1, max_size=12))
    found, at = [], 0
    while at < len(text):
        width = draw(st.integers(1, 3))
        span = (at, min(at + width, len(text)))
        found += [span] * draw(st.sampled_from([1, 1, 1, 2, 4]))
        found += [(span[1], span[1])] * draw(st.sampled_from([0, 0, 0, 1]))
        at = span[1]
    return text, found


@given(overlapping_tokens())
def test_whole_characters_as_a_loop_finds_them(made) -> None:
    text, offsets = made
    found = ContextCharacters.of(tokens_at([text], [offsets]))
    for token, (start, end) in enumerate(offsets):
        first, last = whole(text, start, end)
        if first == last:
            assert found.start_token[token] == found.end_token[token] == -1
            assert found.start[token] == found.end[token]
        else:
            assert (found.start[token], found.end[token]) == (first, last)
            assert found.start[found.start_token[token]] == first
            assert found.end[found.end_token[token]] == last


@settings(max_examples=40, deadline=None)
@given(
    text=st.text(max_size=40) | st.text(alphabet="ae \u0301\u0308\U0001f44d\U0001f3fd\u0915\u093f", max_size=40),
    longest=st.integers(1, 12),
)
@pytest.mark.parametrize("family", FAMILIES)
def test_search_finds_all_spans_of_characters(family, text, longest) -> None:
    assert_all_found(family, text, longest)


@pytest.mark.parametrize("family", FAMILIES)
def test_search_finds_all_spans_of_the_fixtures(family) -> None:
    for text in texts()[26:48]:
        assert_all_found(family, text[:70], 4)


def assert_all_found(family: str, text: str, longest: int) -> None:
    examples = windows_of(family, ["a"], [text], max_length=24, stride=5)
    if not len(examples.windows):
        return
    native = decoder("native", top_k=600, max_answer_length=longest)
    native.search = type(native.search)(top_k=600, max_answer_length=longest)
    windows = read(examples, native, np.arange(len(examples.windows)))
    for row, window in enumerate(slow_windows(examples, 0)):
        expected = {group[:2]: group.logit for group in character_spans(window, text, longest)}
        assert_row(windows, row, expected, window)


def assert_row(windows, row: int, expected: dict[tuple[int, int], float], window: SlowWindow) -> None:
    spans, examples = windows.spans, windows.examples
    legal = np.flatnonzero(np.isfinite(spans.logit[row]))
    rows = np.full(len(legal), row)
    first = examples.context_token(rows, spans.start[row, legal])
    last = examples.context_token(rows, spans.end[row, legal] - 1)
    places = zip(windows.characters.start[first].tolist(), windows.characters.end[last].tolist(), strict=True)
    found = dict(zip(places, spans.logit[row, legal].tolist(), strict=True))
    assert len(found) == len(legal)
    assert found == pytest.approx(expected, abs=1e-4)
    assert spans.span_mass[row] == pytest.approx(log_sum_exp(expected.values()), abs=1e-3)
