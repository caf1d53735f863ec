"""Where paragraphs of texts end."""

from __future__ import annotations

import textwrap
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qatool.windows.paragraphs import LONG_CHARS, paragraph_ends

SENTENCES = (
    "The lighthouse keeper wrote down the barometer every morning before he put the kettle on.",
    "Nobody had asked him to.",
    "His daughter kept the notebooks in a tin trunk, where the weather office found them in 1931.",
    "They are the longest record of air pressure on that coast, and the only one that goes back beyond the war.",
)


def wrapped(text: str, width: int = 72) -> str:
    return "\n".join(textwrap.wrap(text, width))


def paragraphs(text: str) -> list[str]:
    ends = paragraph_ends(text)
    return [text[begin:end] for begin, end in pairwise([0, *ends, len(text)])]


@pytest.mark.parametrize(
    "between",
    [".\n\n", "? \n\t\n  ", ".\r\n\r\n", ".\r\r", ".\x85\x85", ".)\n\n", ".\u2029", ".\n \u2029", ". \n\n\n\n"],
)
def test_a_blank_line_ends_one(between: str) -> None:
    assert paragraphs(f"One{between}two") == [f"One{between}", "two"]


@pytest.mark.parametrize("closing", [*".!?;…。！？।։؟۔።។」)]"])
@pytest.mark.parametrize(
    "behind",
    ["", '"', "”", "“", "«", " »", "**", "_", "`", "²", "[1]", "[citation needed]", "\u200f", "\ufeff", " 😀"],
)
def test_a_sentence_ends(closing: str, behind: str) -> None:
    assert paragraphs(f"One{closing}{behind}\n\ntwo") == [f"One{closing}{behind}\n\n", "two"]


@pytest.mark.parametrize(
    "between",
    [" \n\n", ",\n\n", ":\n\n", "-\n\n", "、\n\n", "(\n\n", "**\n\n", "%\n\n", "##\n\n", "•\n\n", "\n\n***\n\n"],
)
def test_one_goes_on(between: str) -> None:
    assert paragraph_ends(f"One{between}two") == []


@pytest.mark.parametrize("between", ["...", ". ", ".\u2028\u2028", ".\f", "one\n"])
def test_what_is_no_blank_line_ends_none(between: str) -> None:
    assert paragraph_ends(f"One{between}two") == []


@pytest.mark.parametrize("script", ["ทะเลสาบ", "word ", "水"])
def test_a_long_line_ends_one_without_a_stop(script: str) -> None:
    line = (script * LONG_CHARS)[:LONG_CHARS].strip() + "x"
    for text in (f"{line}\n\n{line}\n\n{line}", f"{line}\n{line}\n{line}"):
        assert [part.strip() for part in paragraphs(text)] == [line] * 3
    assert paragraph_ends(f"{line[2:]}\n\n{line},\n\n{line}:\n\n{line}") == []


def test_a_line_is_a_paragraph_where_most_lines_end_sentences() -> None:
    text = "\n".join((*SENTENCES, "Records", *SENTENCES, "1. the tin trunk", "2. the notebooks", *SENTENCES))
    *others, with_heading, _, _, _ = paragraphs(text)[:8]
    assert others == [f"{sentence}\n" for sentence in SENTENCES]
    assert with_heading == f"Records\n{SENTENCES[0]}\n"
    assert text == "".join(paragraphs(text))


def test_a_line_is_none_where_the_text_was_wrapped() -> None:
    blocks = [wrapped(" ".join(SENTENCES))] * 3
    assert any(line.endswith(".") for line in blocks[0].splitlines()[:-1])
    assert paragraph_ends("\n".join(blocks)) == []
    assert paragraphs("\n\n".join(blocks)) == [f"{blocks[0]}\n\n"] * 2 + [blocks[0]]


def test_lines_between_blank_lines_are_paragraphs_too() -> None:
    text = f"{SENTENCES[0]}\n{SENTENCES[1]}\n\n{SENTENCES[2]}\n{SENTENCES[3]}"
    assert [part.strip() for part in paragraphs(text)] == list(SENTENCES)


@given(st.text(st.sampled_from(".,a:) \n \r\t\u2029ก") | st.characters(), max_size=60))
def test_every_end_stands_behind_a_break(text: str) -> None:
    ends = paragraph_ends(text)
    assert ends == sorted(set(ends))
    for end in ends:
        before = text[:end].rstrip()
        assert not set("\n\r\x85\u2029").isdisjoint(text[len(before) : end])
        assert not text[end : end + 1].isspace()
        assert not set(before).isdisjoint(".!?;)]…。।") or not before.isascii()


@pytest.mark.parametrize("part", [".\n", "a." + " " * 1_000 + "\n", "\n", " \n\t", "\u2029", " ", "\n \u2029a"])
def test_hostile_white_space_takes_no_long_time(part: str) -> None:
    text = part * (400_000 // len(part)) + "\na"
    began = time.process_time()
    paragraph_ends(text)
    assert time.process_time() - began < 5
