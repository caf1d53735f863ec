"""Labels against the oracle, a naive definition and the notebook recipe."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prephelpers import load, write_rows
from support import needs_shared

from qatool.windows.build import build_windows
from qatool.windows.cut import WindowSize
from qatool.windows.labels import answer_tokens, window_spans
from qatool.windows.tokenizer import PairTokenizer

from prep_vs_notebook import notebook_labels  # isort: skip (in the folder of benchmarks, found by prephelpers)

WORDS = st.sampled_from(
    [
        "the",
        "water",
        "pumping",
        "Straße",
        "e\u0301tude",
        "🐢🐢",
        "a",
        ",",
        "  ",
        "\n",
        "x-ray",
        "\u00a0",
        "zzqqj",
        "1858",
    ]
)
TEXTS = st.lists(WORDS, min_size=1, max_size=30).map(" ".join)


@pytest.fixture(scope="module")
def tokenizer(tiny_model) -> PairTokenizer:
    return PairTokenizer.load(str(tiny_model))


def naive(windows, number, row, start, end):
    """The definition, token by token: first that reaches the start, last that reaches the end, both in the window."""
    span = slice(windows.boundaries[number], windows.boundaries[number + 1])
    offsets = windows.offset_mapping[span]
    first, behind = windows.context_start[number], windows.context_end[number]
    touching = [place for place in range(first, behind) if offsets[place][1] > start and offsets[place][0] < end]
    return (touching[0], touching[-1]) if touching else None


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), texts=st.lists(TEXTS, min_size=1, max_size=4), stride=st.integers(0, 6))
def test_labels_are_those_of_the_definition(tokenizer, data, texts, stride) -> None:
    size = WindowSize(max_length=20, stride=stride, question_budget=4)
    questions = ["what water?" for _ in texts]
    answers = []
    for sample, text in enumerate(texts):
        start = data.draw(st.integers(0, len(text) - 1))
        answers.append((sample, start, data.draw(st.integers(start + 1, len(text)))))
    sample, start, end = (np.array(column) for column in zip(*answers, strict=True))
    args = {"tokenizer": tokenizer, "question_offsets": True}
    examples = build_windows(questions, texts, size=size, **args)
    whole = build_windows(questions, texts, size=WindowSize(max_length=4000, stride=0, question_budget=4), **args)
    windows, uncut = examples.unpadded(), whole.unpadded()
    tokens = answer_tokens(examples, sample=sample, answer_start=start, answer_end=end)
    spans = window_spans(examples, tokens, sample=sample, context_position=windows.context_start)
    found = {int(w): (int(a), int(b)) for w, a, b in zip(spans.window, spans.start, spans.end, strict=True)}
    covering = {}
    for number, one in enumerate(whole.windows.overflow_to_sample_mapping.tolist()):
        here = naive(uncut, number, one, *answers[one][1:])
        covering[one] = None if here is None else here[1] - here[0]
    for number, one in enumerate(examples.windows.overflow_to_sample_mapping.tolist()):
        here = naive(windows, number, one, *answers[one][1:])
        # A window holds the answer when all the tokens are in it that touch it in the uncut context.
        is_whole = here is not None and here[1] - here[0] == covering[one]
        assert found.get(number) == (here if is_whole else None)


def test_windows_and_labels_of_the_seed(qatool, tmp_path) -> None:
    oracle = json.loads(needs_shared("oracles", "seed_windows.json").read_bytes())
    model = needs_shared("tokenizers", "roberta-base")
    row = {"id": "seed", **{name: oracle[name] for name in ("question", "context", "answers")}}
    write_rows(tmp_path / "seed.jsonl", [row])
    words = ["--model", model, "--max-length", 15, "--stride", 5, "--workers", 1]
    assert qatool("prep", "seed.jsonl", "-o", "f", *words).code == 0
    found = load(tmp_path / "f").features.to_pylist()
    assert len(found) == len(oracle["windows"]) == 10
    for number, (ours, theirs) in enumerate(zip(found, oracle["windows"], strict=True)):
        context = [place for place, sequence in enumerate(theirs["sequence_ids"]) if sequence == 1]
        assert ours == {
            "input_ids": theirs["input_ids"],
            "offset_mapping": theirs["offset_mapping"],
            "overflow_to_sample_mapping": oracle["overflow_to_sample_mapping"][number],
            "example_id": "seed",
            "window": number,
            "context_start": context[0],
            "context_end": context[-1] + 1,
            "start_positions": theirs["start_position"],
            "end_positions": theirs["end_position"],
        }


def test_leading_white_space_shifts_the_labels_of_the_notebook_and_not_ours(qatool, tmp_path, tiny_model) -> None:
    from transformers import AutoTokenizer

    context = "   \n  The pump was built in 1871 by a clockmaker from the valley."
    answer = "1871"
    start = context.index(answer)
    answers = {"text": [answer], "answer_start": [start]}
    row = {"question": "When was it built?", "context": context, "answers": answers}
    write_rows(tmp_path / "rows.jsonl", [row])
    assert qatool("prep", "rows.jsonl", "-o", "f", "--model", tiny_model, "--max-length", 64).code == 0
    ours = load(tmp_path / "f").features.to_pylist()[0]
    covered = slice(
        ours["offset_mapping"][ours["start_positions"]][0], ours["offset_mapping"][ours["end_positions"]][1]
    )
    assert context[covered] == answer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    stripped = {"question": [row["question"]], "context": [context.strip()], "answers": [answers]}
    theirs = notebook_labels(stripped, tokenizer, max_length=64, stride=16)
    offsets = theirs["offset_mapping"][0]
    decoded = context.strip()[offsets[theirs["start_positions"][0]][0] : offsets[theirs["end_positions"][0]][1]]
    assert decoded != answer
    assert (theirs["start_positions"][0], theirs["end_positions"][0]) != (
        ours["start_positions"],
        ours["end_positions"],
    )
