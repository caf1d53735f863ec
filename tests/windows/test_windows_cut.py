"""Where windows begin and end, how long a question may be, and texts that give no window."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizerhelpers import FAMILIES, pair_tokenizer
from windowhelpers import our_windows, windowed

from qatool.errors import UsageError
from qatool.windows.cut import cut_windows, question_budget
from qatool.windows.ragged import offsets_of, ranges

N_SPECIAL = 3


def naive_windows(question: int, context: int, *, max_length: int, stride: int) -> list[tuple[int, int]]:
    """Slide over the context until a window reaches its end."""
    room = max_length - N_SPECIAL - question
    found: list[tuple[int, int]] = []
    while context and (not found or found[-1][1] < context):
        start = found[-1][1] - stride if found else 0
        found.append((start, min(start + room, context)))
    return found


@given(
    lengths=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 80)), max_size=6),
    stride=st.integers(0, 12),
    spare=st.integers(0, 9),
)
def test_cut_as_a_loop_would(lengths, stride, spare) -> None:
    max_length = N_SPECIAL + 9 + stride + 1 + spare
    question, context = (np.array([pair[i] for pair in lengths], dtype=np.int64) for i in (0, 1))
    windows = cut_windows(question, context, max_length=max_length, stride=stride, n_special=N_SPECIAL)
    expected = [naive_windows(q, c, max_length=max_length, stride=stride) for q, c in lengths]
    flat = [(i, n, *span) for i, found in enumerate(expected) for n, span in enumerate(found)]
    columns = (windows.overflow_to_sample_mapping, windows.window, windows.context_start, windows.context_end)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == flat
    assert windows.n_windows.tolist() == [len(found) for found in expected]
    assert windows.boundaries.tolist() == np.cumsum([0, *map(len, expected)]).tolist()
    assert windows.context_length.tolist() == [end - start for *_, start, end in flat]
    assert len(windows) == len(flat)


@pytest.mark.parametrize(("context", "expected"), [(19, 1), (20, 1), (21, 2), (35, 2), (36, 3), (0, 0), (1, 1)])
def test_context_at_the_border(context, expected) -> None:
    """Room for 20 context tokens, a new window every 15."""
    windows = cut_windows(np.array([4]), np.array([context]), max_length=27, stride=5, n_special=N_SPECIAL)
    assert windows.n_windows.tolist() == [expected]


def test_a_question_above_the_budget_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="longer than the question budget"):
        cut_windows(np.array([5]), np.array([3]), max_length=13, stride=5, n_special=N_SPECIAL)


@pytest.mark.parametrize(("longest", "expected"), [(None, 252), (64, 64), (252, 252), (253, 252), (1, 1)])
def test_question_budget(longest, expected) -> None:
    budget = question_budget(max_length=384, stride=128, n_special=3, max_question_length=longest)
    assert budget == expected


def test_question_budget_of_one_token() -> None:
    assert question_budget(max_length=14, stride=9, n_special=3, max_question_length=64) == 1


def test_no_room_for_a_question() -> None:
    with pytest.raises(UsageError) as caught:
        question_budget(max_length=13, stride=9, n_special=3, max_question_length=64)
    assert caught.value.exit_code == 2
    assert str(caught.value) == (
        "--max-length 13 with --stride 9: 3 special tokens and 10 context tokens leave no room for a question; "
        "raise --max-length or lower --stride"
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_long_questions_are_cut_at_their_end(family) -> None:
    tokenizer = pair_tokenizer(family)
    asked = ["who moved the old piano and the ladder?", "who"]
    size = {"max_length": 30, "stride": 3, "question_budget": 4}
    examples = windowed(tokenizer, asked, ["the one and only tall tenant did " * 5] * 2, **size)
    full = tokenizer.tokenize(asked, offsets=False)
    n_prefix = len(tokenizer.template.prefix)
    assert full.lengths[0] > 4
    assert examples.question_lengths.tolist() == [4, min(4, full.lengths[1])]
    windows = our_windows(examples)
    for window in windows:
        own = full.input_ids[full.offsets[window.example] :][: examples.question_lengths[window.example]]
        assert window.input_ids[n_prefix : n_prefix + len(own)] == own.tolist()
    covered = {span for window in windows if window.example == 0 for span in window.offsets}
    whole = tokenizer.tokenize(examples.contexts.texts).offset_mapping
    assert whole is not None
    assert covered == set(map(tuple, whole.tolist()))


@pytest.mark.parametrize("family", FAMILIES)
def test_contexts_without_tokens_have_no_window(family) -> None:
    size = {"max_length": 20, "stride": 2}
    examples = windowed(pair_tokenizer(family), ["who"] * 3, ["", "x", ""], **size)
    assert examples.windows.n_windows.tolist() == [0, 1, 0]
    assert [window.example for window in our_windows(examples)] == [1]


def test_wordpiece_drops_blank_and_control_characters() -> None:
    examples = windowed(pair_tokenizer("wordpiece"), ["who"] * 2, [" \n\t ", "\u200b\x00"], max_length=20, stride=2)
    assert examples.windows.n_windows.tolist() == [0, 0]
    assert our_windows(examples) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_no_examples(family) -> None:
    examples = windowed(pair_tokenizer(family), [], [], max_length=20, stride=2)
    assert len(examples.windows) == 0
    assert examples.lengths.tolist() == []


def test_each_text_is_tokenised_once(monkeypatch) -> None:
    tokenizer = pair_tokenizer("wordpiece")
    seen: list[list[str]] = []
    real = type(tokenizer).tokenize

    def counting(self, wanted, **options):
        seen.append(list(wanted))
        return real(self, wanted, **options)

    monkeypatch.setattr(type(tokenizer), "tokenize", counting)
    asked, contexts = ["who", "what", "who", "who"], ["b c", "a b c", "a b c", "b c"]
    examples = windowed(tokenizer, asked, contexts, max_length=20, stride=2)
    assert seen == [["who", "what"], ["b c", "a b c"]]
    assert [examples.questions.texts[i] for i in examples.question_index] == asked
    assert [examples.contexts.texts[i] for i in examples.context_index] == contexts


@given(rows=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5))))
def test_ranges(rows) -> None:
    starts, lengths = (np.array([row[i] for row in rows], dtype=np.int64) for i in (0, 1))
    assert ranges(starts, lengths).tolist() == [start + i for start, length in rows for i in range(length)]
    assert offsets_of(lengths).tolist() == [sum(length for _, length in rows[:i]) for i in range(len(rows) + 1)]
