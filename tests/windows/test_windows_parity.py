"""Windows are those the tokenizer itself cuts, to the id, for every family of tokenizers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import needs_shared
from tokenizerhelpers import FAMILIES, pair_tokenizer, questions, texts
from transformers import AutoTokenizer
from windowhelpers import our_windows, reference_windows, windowed

from qatool.windows.build import build_windows
from qatool.windows.cut import WindowSize
from qatool.windows.tokenizer import PairTokenizer

SIZES = [(384, 128), (128, 64), (96, 0), (64, 63), (61, 7), (40, 1)]
ASKED = "Who moved the piano?"


def short_texts() -> list[str]:
    return [text[:400] for text in texts()]


@pytest.mark.parametrize(("max_length", "stride"), SIZES)
@pytest.mark.parametrize("family", FAMILIES)
def test_windows_of_the_fixtures(family, max_length, stride) -> None:
    contexts = short_texts() if max_length < 100 else [text[:6_000] for text in texts()]
    asked = ["Why?" if max_length <= 64 else questions()[i] for i in range(len(contexts))]
    size = {"max_length": max_length, "stride": min(stride, max_length - 12)}
    theirs = reference_windows(FAMILIES[family](), asked, contexts, **size)
    assert our_windows(windowed(pair_tokenizer(family), asked, contexts, **size)) == theirs


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("stride", [0, 1, 4, 9])
def test_windows_of_every_length_around_a_border(family, stride) -> None:
    contexts = ["ab " * n for n in range(1, 60)]
    asked = ["a"] * len(contexts)
    size = {"max_length": 24, "stride": stride}
    theirs = reference_windows(FAMILIES[family](), asked, contexts, **size)
    ours = our_windows(windowed(pair_tokenizer(family), asked, contexts, **size))
    assert ours == theirs
    assert max(len(window.input_ids) for window in ours) == 24


@settings(max_examples=60, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.text(max_size=12), st.text(max_size=120)), min_size=1, max_size=4),
    stride=st.integers(0, 8),
    room=st.integers(1, 20),
)
@pytest.mark.parametrize("family", FAMILIES)
def test_windows_of_any_text(family, pairs, stride, room) -> None:
    tokenizer = pair_tokenizer(family)
    asked, contexts = (list(part) for part in zip(*pairs, strict=True))
    longest = int(tokenizer.tokenize(asked, offsets=False).lengths.max())
    size = {"max_length": longest + tokenizer.template.n_special + stride + room, "stride": stride}
    theirs = reference_windows(FAMILIES[family](), asked, contexts, **size)
    assert our_windows(windowed(tokenizer, asked, contexts, **size)) == theirs


@pytest.mark.parametrize("family", FAMILIES)
def test_unpadded_windows_are_the_same(family) -> None:
    size = WindowSize(max_length=64, stride=20, question_budget=30)
    contexts = short_texts()[8:40]
    asked = list(questions()[: len(contexts)])
    examples = build_windows(asked, contexts, tokenizer=pair_tokenizer(family), size=size, question_offsets=True)
    flat = examples.unpadded()
    for row, window in enumerate(our_windows(examples)):
        own = slice(*flat.boundaries[row : row + 2].tolist())
        inside = slice(own.start + int(flat.context_start[row]), own.start + int(flat.context_end[row]))
        assert flat.input_ids[own].tolist() == window.input_ids
        assert (None if flat.token_type_ids is None else flat.token_type_ids[own].tolist()) == window.token_type_ids
        assert list(map(tuple, flat.offset_mapping[inside].tolist())) == window.offsets
        assert flat.context_start[row] == window.context_first


@pytest.mark.parametrize("place", [("models", "minilm-qa"), ("tokenizers", "roberta-base")])
@pytest.mark.parametrize(("max_length", "stride"), [(384, 128), (64, 20)])
def test_windows_of_real_tokenizers(place, max_length, stride) -> None:
    folder = str(needs_shared(*place))
    contexts, asked = short_texts(), [ASKED] * len(texts())
    size = {"max_length": max_length, "stride": stride}
    theirs = reference_windows(AutoTokenizer.from_pretrained(folder), asked, contexts, **size)
    assert our_windows(windowed(PairTokenizer.load(folder), asked, contexts, **size)) == theirs


def test_windows_of_a_worked_example() -> None:
    worked = json.loads(needs_shared("oracles", "seed_windows.json").read_text())
    tokenizer = PairTokenizer.load(str(needs_shared("tokenizers", "roberta-base")))
    size = {"max_length": worked["max_length"], "stride": worked["stride"]}
    windows = our_windows(windowed(tokenizer, [worked["question"]], [worked["context"]], **size))
    assert len(windows) == 10
    assert [w.example for w in windows] == worked["overflow_to_sample_mapping"]
    assert [w.input_ids for w in windows] == [w["input_ids"] for w in worked["windows"]]
    for ours, theirs in zip(windows, worked["windows"], strict=True):
        inside = [at for at, sequence in enumerate(theirs["sequence_ids"]) if sequence == 1]
        assert ours.offsets == [tuple(theirs["offset_mapping"][at]) for at in inside]
        assert ours.context_first == inside[0]
