"""Passages along paragraphs, against a slow way to cut them."""

from __future__ import annotations

import random
import time
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizerhelpers import FAMILIES, pair_tokenizer

from qatool.windows.assemble import WindowedExamples
from qatool.windows.build import build_windows
from qatool.windows.cut import WindowSize, cut_windows
from qatool.windows.paragraphs import paragraph_ends
from qatool.windows.passages import (
    HEADING_TOKENS,
    PASSAGE_STRIDE,
    PASSAGE_TOKENS,
    TOGETHER_TOKENS,
    WHOLE_TOKENS,
    passages,
)
from qatool.windows.tokenizer import PairTemplate, TokenizedTexts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qatool.windows.cut import Windows

STEP = PASSAGE_TOKENS - PASSAGE_STRIDE
TEMPLATE = PairTemplate(
    prefix=(), middle=(), suffix=(), special_type_ids=(), question_type_id=0, context_type_id=0, null_in_suffix=False
)
NONE = np.empty(0, np.int32)


class Passage(NamedTuple):
    window: int
    start: int
    end: int


def examples_of(contexts: Sequence[str], *, room: int, stride: int) -> WindowedExamples:
    """One example a context; each character that is no white space is a token."""
    places = [[place for place, letter in enumerate(text) if not letter.isspace()] for text in contexts]
    lengths = [len(found) for found in places]
    flat = np.array([place for found in places for place in found], dtype=np.int32)
    order = np.arange(len(contexts))
    return WindowedExamples(
        questions=TokenizedTexts(texts=[""], input_ids=NONE, offsets=np.zeros(2, np.int64)),
        contexts=TokenizedTexts(
            texts=contexts,
            input_ids=np.zeros(len(flat), np.int32),
            offsets=np.cumsum([0, *lengths]),
            offset_mapping=np.stack([flat, flat + 1], axis=1),
        ),
        question_index=np.zeros(len(contexts), np.int64),
        context_index=order,
        question_lengths=np.zeros(len(contexts), np.int64),
        question_is_cut=np.zeros(len(contexts), bool),
        windows=cut_windows([0] * len(contexts), lengths, max_length=room, stride=stride, n_special=0),
        template=TEMPLATE,
        pad_token_id=0,
        uses_token_types=False,
    )


def of_example(windows: Windows, example: int) -> list[Passage]:
    rows = range(windows.boundaries[example], windows.boundaries[example + 1])
    return [Passage(windows.window[row], windows.context_start[row], windows.context_end[row]) for row in rows]


def slow_paragraphs(text: str) -> list[tuple[int, int]]:
    """Tokens of the paragraphs of a text of :func:`examples_of`, short ones together."""
    places = [place for place, letter in enumerate(text) if not letter.isspace()]
    begins = [0, *sorted({sum(place < end for place in places) for end in paragraph_ends(text)} - {0, len(places)})]
    parted = [0]
    for begin in begins[1:]:
        if begin - parted[-1] >= HEADING_TOKENS:
            parted.append(begin)
    begins, together = parted, [0]
    for begin, end in zip(begins[1:], [*begins, len(places)][2:], strict=True):
        if end - together[-1] > TOGETHER_TOKENS:
            together.append(begin)
    return list(zip(together, [*together[1:], len(places)], strict=True))


def slow_passages(text: str, windows: list[Passage]) -> list[Passage]:
    paragraphs, found = slow_paragraphs(text), []
    if max((end - start for _, start, end in windows), default=0) <= PASSAGE_TOKENS:
        return windows
    for place, (number, start, end) in enumerate(windows):
        before = windows[place - 1].end if place else 0
        is_last = place == len(windows) - 1
        following = end if is_last else windows[place + 1].start
        for begin, finish in paragraphs:
            first, last = max(begin, start), min(finish, end)
            belongs = first < last and (first < following or is_last or begin < start)
            if not belongs or (begin < start and last <= before):
                continue
            goes_on = finish > end
            whole = WHOLE_TOKENS if len(paragraphs) > 1 and (begin >= start or not goes_on) else PASSAGE_TOKENS
            if last - first <= whole:
                found.append(Passage(number, first, last))
                continue
            way = following - first if goes_on else last - first - PASSAGE_TOKENS
            steps = -(-way // STEP)
            for part in range(steps + (not goes_on)):
                at = first + part * way // steps
                found.append(Passage(number, at, min(at + PASSAGE_TOKENS, last)))
    return [one for place, one in enumerate(found) if all(one.end > other.end for other in found[:place])]


LENGTHS = st.one_of(st.integers(1, 40), st.integers(1, 420), st.integers(100, 1_200))
ENDS = st.sampled_from(
    [".\n\n", ".\n\n", "!\n \n", "。\r\n\r\n", '"\u2029', ".\n", ",\n\n", "x\n\n", "\n\n\n", ")  \n\n "]
)


@settings(max_examples=300, deadline=None)
@given(
    made=st.lists(st.lists(st.tuples(LENGTHS, ENDS), max_size=9), min_size=1, max_size=3),
    room=st.integers(1, 500),
    data=st.data(),
)
def test_passages_are_cut_along_paragraphs(made, room: int, data) -> None:
    stride = data.draw(st.integers(0, room - 1))
    contexts = ["".join("a" * length + end for length, end in paragraphs) for paragraphs in made]
    examples = examples_of(contexts, room=room, stride=stride)
    found = passages(examples)
    assert found.n_cut.tolist() == examples.windows.n_windows.tolist()
    for number, text in enumerate(contexts):
        windows, mine = of_example(examples.windows, number), of_example(found, number)
        assert mine == slow_passages(text, windows)
        for window, start, end in mine:
            assert windows[window].start <= start < end <= windows[window].end
        assert all(one.start < other.start and one.end < other.end for one, other in pairwise(mine))
        longest = max(1, min(stride, PASSAGE_STRIDE))
        for begin, finish in slow_paragraphs(text):  # of each span that is no longer, all stands in one passage
            ends = np.zeros(finish + 1, np.int64)
            for _, start, end in mine:
                ends[start : finish + 1] = np.maximum(ends[start : finish + 1], end)
            spans = np.arange(begin, max(begin + 1, finish - longest + 1))
            if finish > begin:
                assert (ends[spans] >= np.minimum(spans + longest, finish)).all()


@settings(max_examples=100, deadline=None)
@given(length=st.integers(0, 2_000), room=st.integers(1, 500), data=st.data())
def test_without_paragraphs_they_are_spread_evenly(length: int, room: int, data) -> None:
    stride = data.draw(st.integers(0, room - 1))
    examples = examples_of(["a" * length + ",\n\n" + "a" * min(length, 9)], room=room, stride=stride)
    windows, mine = of_example(examples.windows, 0), of_example(passages(examples), 0)
    expected = []
    for place, (number, start, end) in enumerate(windows):
        is_last = place == len(windows) - 1
        way = max(end - start - PASSAGE_TOKENS, 0) if is_last else windows[place + 1].start - start
        steps = (not is_last) if end - start <= PASSAGE_TOKENS else -(-way // STEP)
        starts = [start + part * way // max(steps, 1) for part in range(steps + is_last)]
        expected += [Passage(number, at, min(at + PASSAGE_TOKENS, end)) for at in starts]
    assert set(mine) <= set(expected)
    assert all(any(one.start <= left.start and left.end <= one.end for one in mine) for left in expected)


@pytest.mark.parametrize("heading", ["What is it?", "2. Tides (2019)", "**Tides.**", "Tides:", "Tides"])
@pytest.mark.parametrize("length", [70, 200, 300])
def test_a_heading_belongs_to_what_follows(heading: str, length: int) -> None:
    entry = heading + "\n\n" + "b" * length + ".\n\n"
    examples = examples_of([entry * 6], room=5_000, stride=0)
    tokens = sum(not letter.isspace() for letter in entry)
    assert of_example(passages(examples), 0) == [Passage(0, tokens * at, tokens * (at + 1)) for at in range(6)]


@pytest.mark.parametrize("family", FAMILIES)
def test_passages_hold_the_text_of_paragraphs(family: str) -> None:
    tokenizer, dice = pair_tokenizer(family), random.Random(1)
    words = ["lagoon", "keeper", "barometer", "money", "river"]
    paragraphs = [f"{' '.join(dice.choices(words, k=dice.randint(3, 9)))} {number}." for number in range(150)]
    context = "\n\n".join(paragraphs)
    size = WindowSize(max_length=384, stride=128, question_budget=64)
    examples = build_windows(["Who?"], [context], tokenizer=tokenizer, size=size)
    offsets = examples.contexts.offset_mapping
    assert offsets is not None
    read = {
        context[offsets[one.start, 0] : offsets[one.end - 1, 1]].strip() for one in of_example(passages(examples), 0)
    }
    for paragraph in paragraphs:
        assert any(paragraph in passage for passage in read)
    whole = [passage for passage in read if all(part in paragraphs for part in passage.split("\n\n"))]
    assert len(whole) > len(read) / 2


def test_hostile_white_space_takes_no_long_time() -> None:
    examples = examples_of(
        ["a." + "\n" * 200_000, ("a." + " " * 50 + "\n") * 4_000, ".\n\n" * 50_000], room=300, stride=50
    )
    began = time.process_time()
    passages(examples)
    assert time.process_time() - began < 5
