"""Words looked up are the words the tokenizer would have cut."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import needs_shared
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import AutoTokenizer

from qatool.models.named import BUNDLED
from qatool.windows import words
from qatool.windows.light import LightTokenizer, load_light
from qatool.windows.tokenizer import PairTokenizer
from qatool.windows.words import WordMemory, _same

ODD = ["  ", " ", "\n", "\t", "\u00a0", "\u2003", "\u200b", "\x00", "\x85", "\x1c", "\u0301", "é", "e\u0301", "🐢",
       "👩\u200d🔬", "[SEP]", "[sep]", "<mask>", "</s>", "'s", "don't", "1871", "½", "水", "ﬁ", "ẞ", "Σ", "İ", "-",
       "…", "pump", "Pump", "zzqqj", "a" * 120, ".", ",", "\u202e", "ไทย"]  # fmt: skip
TEXTS = st.lists(
    st.lists(st.sampled_from([*ODD, " ", " ", " "]) | st.characters(exclude_categories=["Cs"]), max_size=14).map(
        "".join
    ),
    min_size=1,
    max_size=5,
)


def untrimmed() -> Tokenizer:
    """A byte-level BPE whose words begin with their space, as transformers makes GPT-2's."""
    made = Tokenizer(BPE())
    made.pre_tokenizer = ByteLevel(add_prefix_space=False)
    alphabet = ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(["pump the pump of 1871, don't"], trainer)
    return made


@pytest.fixture(scope="module", params=["tiny", "minilm-qa", "roberta-base", "untrimmed"])
def backend(request, tiny_model) -> Tokenizer:
    if request.param == "untrimmed":
        return untrimmed()
    if request.param == "tiny":
        folder = tiny_model
    else:
        folder = needs_shared("models" if "mini" in request.param else "tokenizers", request.param)
    found = Tokenizer.from_file(str(folder / "tokenizer.json"))
    found.no_truncation()
    found.no_padding()
    return found


@pytest.fixture(scope="module")
def memory(backend) -> WordMemory:
    found = WordMemory.of(backend)
    assert found is not None
    return found


def test_a_space_of_its_own_goes_with_the_word_behind_it(memory) -> None:
    texts = ["the pump \u4e2d of 1871", "the \u4e2d", "\u4e2d the"]
    assert _same(memory._tokenize(texts), memory._by_tokenizer(texts))


@settings(max_examples=150, deadline=None)
@given(texts=TEXTS)
def test_same_as_the_tokenizer(memory, texts) -> None:
    assert _same(memory._tokenize(texts), memory._by_tokenizer(texts))
    assert memory.is_exact


@pytest.mark.parametrize("between", [chr(code) for code in [*range(128), 0x85, 0xA0, 0xAD, 0x301, 0x200B, 0x2028]])
def test_whatever_stands_between_two_words(memory, between) -> None:
    texts = [f"pump{between}pump", f"pump {between}pump", f"pump{between} pump é", f"{between}é", f"é{between}"]
    assert _same(memory._tokenize(texts), memory._by_tokenizer(texts))


def test_same_on_real_text(memory, monkeypatch) -> None:
    path = needs_shared("data", "squad1.1-dev-part-a-dev.json")
    data = json.loads(path.read_bytes())["data"]
    texts = [paragraph["context"] for article in data for paragraph in article["paragraphs"]]
    texts += [asked["question"] for one in data for paragraph in one["paragraphs"] for asked in paragraph["qas"]]
    assert _same(memory._tokenize(texts), memory._by_tokenizer(texts))
    monkeypatch.setattr(words, "MAX_WORDS", 10)
    for text in texts[:20]:
        assert _same(memory._tokenize([text]), memory._by_tokenizer([text]))
    assert len(memory._first) < 300


def test_a_tokenizer_that_looks_across_words_is_left_to_itself(tiny_model) -> None:
    made = (tiny_model / "tokenizer.json").read_text()
    other = re.sub(r'"type":\s*"BertPreTokenizer"', '"type": "Whitespace"', made)
    assert WordMemory.of(Tokenizer.from_str(other)) is None
    # A difference in the first texts turns it off for good.
    tokenizer = PairTokenizer.load(str(tiny_model))
    tokenizer.remember_words()
    plain = PairTokenizer.load(str(tiny_model))
    tokenizer._words._learn(tokenizer._words._first, {"pump"}, behind=False)
    tokenizer._words._ids += 1
    for _ in range(2):
        found = tokenizer.tokenize(["the pump"])
        assert np.array_equal(found.input_ids, plain.tokenize(["the pump"]).input_ids)
        assert not tokenizer._words.is_exact


@pytest.fixture(
    params=[("models", "minilm-qa"), ("tokenizers", "roberta-base"), ("bundled",), ("saved anew",)],
    ids="-".join,
)
def folder_of_tokenizer(request, tmp_path) -> Path:
    """A folder as one release of transformers or another writes it."""
    if request.param == ("bundled",):
        return BUNDLED
    if request.param == ("saved anew",):
        AutoTokenizer.from_pretrained(needs_shared("tokenizers", "roberta-base")).save_pretrained(tmp_path)
        return tmp_path
    return needs_shared(*request.param)


def test_the_light_tokenizer_is_the_one_of_transformers(folder_of_tokenizer) -> None:
    folder = folder_of_tokenizer
    full = PairTokenizer(AutoTokenizer.from_pretrained(folder), name=str(folder))
    light = PairTokenizer.load(str(folder))
    assert isinstance(load_light(folder), LightTokenizer)
    for name in ("fingerprint", "template", "uses_token_types", "model_max_length", "pad_token_id"):
        assert getattr(light, name) == getattr(full, name)


def test_settings_that_change_a_tokenizer_are_left_to_transformers(tmp_path) -> None:
    folder = needs_shared("models", "minilm-qa")
    config = json.loads((folder / "tokenizer_config.json").read_bytes())
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    changes = [{"do_lower_case": False}, {"tokenizer_class": "OtherTokenizer"}, {"added_tokens_decoder": {}}]
    for change in ({}, *changes):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | change))
        assert (load_light(tmp_path) is None) == bool(change)


BERT_CHANGES = [
    ("normalizer", {"lowercase": False}),
    ("normalizer", {"strip_accents": True}),
    ("normalizer", {"clean_text": False}),
    ("pre_tokenizer", {"type": "Whitespace"}),
    ("post_processor", {"pair": []}),
    ("model", {"max_input_chars_per_word": 5}),
]
ROBERTA_CHANGES = [
    ("pre_tokenizer", {"add_prefix_space": True}),
    ("post_processor", {"trim_offsets": False}),
    ("model", {"dropout": 0.1}),
]


@pytest.mark.parametrize(
    ("where", "stage", "change"),
    [
        *((("models", "minilm-qa"), *change) for change in BERT_CHANGES),
        *((("tokenizers", "roberta-base"), *change) for change in ROBERTA_CHANGES),
    ],
)
def test_definitions_that_transformers_makes_anew_are_left_to_it(tmp_path, where, stage, change) -> None:
    folder = needs_shared(*where)
    config = json.loads((folder / "tokenizer_config.json").read_bytes())
    for key in ("do_lower_case", "strip_accents", "tokenize_chinese_chars", "add_prefix_space", "trim_offsets"):
        config.pop(key, None)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    made = json.loads((folder / "tokenizer.json").read_bytes())
    for applied in ({}, change):
        made[stage] |= applied
        (tmp_path / "tokenizer.json").write_text(json.dumps(made))
        assert (load_light(tmp_path) is None) == bool(applied)


def test_special_tokens_that_only_the_settings_name_are_left_to_transformers(tmp_path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((BUNDLED / name).read_bytes())
    assert load_light(tmp_path) is not None
    config = json.loads((tmp_path / "tokenizer_config.json").read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"mask_token": "<hole>"}))
    assert load_light(tmp_path) is None


def test_a_definition_that_cannot_be_read_is_left_to_transformers(tmp_path) -> None:
    (tmp_path / "tokenizer_config.json").write_bytes((BUNDLED / "tokenizer_config.json").read_bytes())
    made = json.loads((BUNDLED / "tokenizer.json").read_bytes())
    (tmp_path / "tokenizer.json").write_text(json.dumps(made | {"model": {"type": "Unheard"}}))
    assert load_light(tmp_path) is None
