"""What a tokenizer tells about itself, and what makes one unfit."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from tokenizerhelpers import FAMILIES, pair_tokenizer, texts, wordpiece
from tokenizers import Tokenizer, models, pre_tokenizers
from windowhelpers import windowed

from qatool.errors import EnvironmentUnfitError
from qatool.models.companions import load_config
from qatool.windows.tokenizer import NO_WORD, PairTokenizer


@pytest.mark.parametrize(
    ("family", "shape", "types", "null_in_suffix"),
    [
        ("wordpiece", (1, 1, 1), True, False),
        ("byte-level-bpe", (1, 2, 1), False, False),
        ("unigram", (1, 2, 1), False, False),
        ("albert", (1, 1, 1), True, False),
        ("xlnet", (0, 1, 2), True, True),
    ],
)
def test_template(family, shape, types, null_in_suffix) -> None:
    tokenizer = pair_tokenizer(family)
    template = tokenizer.template
    assert (len(template.prefix), len(template.middle), len(template.suffix)) == shape
    assert template.n_special == sum(shape)
    assert template.null_in_suffix is null_in_suffix
    assert tokenizer.uses_token_types is types
    assert tokenizer.pad_token_id == 0 + (family != "wordpiece")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_window_begins_or_ends_with_the_null_token(family) -> None:
    tokenizer = pair_tokenizer(family)
    examples = windowed(tokenizer, ["who", "who is it"], ["a b c", "a b c d e f"], max_length=40, stride=2)
    batch = examples.assemble(examples.windows.overflow_to_sample_mapping)
    ids = batch.input_ids[[0, 1], batch.null_position]
    assert set(ids.tolist()) == {FAMILIES[family]().cls_token_id}


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_and_words_are_the_tokenizers_own(family) -> None:
    tokens = pair_tokenizer(family).tokenize(texts(), words=True)
    encodings = FAMILIES[family]()(list(texts()), add_special_tokens=False, return_offsets_mapping=True)
    assert tokens.offset_mapping is not None
    assert tokens.word_ids is not None
    for i in range(len(texts())):
        own = slice(tokens.offsets[i], tokens.offsets[i + 1])
        assert tokens.input_ids[own].tolist() == encodings["input_ids"][i]
        assert list(map(tuple, tokens.offset_mapping[own].tolist())) == encodings["offset_mapping"][i]
        assert [None if w == NO_WORD else w for w in tokens.word_ids[own].tolist()] == encodings.word_ids(i)


def test_questions_without_offsets_have_the_same_tokens() -> None:
    tokenizer = pair_tokenizer("byte-level-bpe")
    plain = tokenizer.tokenize(texts()[-20:], offsets=False)
    assert plain.offset_mapping is None
    assert plain.word_ids is None
    assert plain.input_ids.tolist() == tokenizer.tokenize(texts()[-20:]).input_ids.tolist()


def test_truncation_and_padding_of_the_file_are_switched_off() -> None:
    cut = wordpiece()
    before = cut.backend_tokenizer.to_str()
    cut.backend_tokenizer.enable_truncation(5)
    cut.backend_tokenizer.enable_padding(length=50)
    tokenizer = PairTokenizer(cut, name="cut")
    assert tokenizer.tokenize(["a b c d e f g h i j"]).lengths.tolist() == [10]
    assert tokenizer.fingerprint == hashlib.sha256(before.encode()).hexdigest()


def test_fingerprint_follows_the_vocabulary() -> None:
    prints = {pair_tokenizer(family).fingerprint for family in FAMILIES}
    assert len(prints) == len(FAMILIES)
    assert all(len(mark) == 64 for mark in prints)


def test_slow_tokenizers_are_refused() -> None:
    with pytest.raises(EnvironmentUnfitError) as caught:
        PairTokenizer(SimpleNamespace(is_fast=False), name="models/old")
    assert str(caught.value) == (
        "models/old: its tokenizer has no fast implementation, which offsets need; save it once with a tokenizer.json"
    )


@pytest.mark.parametrize(
    ("vocabulary", "problem"),
    [
        ({}, "its tokenizer knows no words; tokenizer.json or the vocabulary is missing from the folder"),
        ({"zz": 0}, "its tokenizer cannot encode a pair of texts; use another model"),
    ],
)
def test_tokenizers_that_know_no_letters_are_refused(vocabulary, problem) -> None:
    deaf = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    deaf.pre_tokenizer = pre_tokenizers.Whitespace()
    stand_in = SimpleNamespace(
        is_fast=True,
        backend_tokenizer=deaf,
        pad_token_id=None,
        cls_token_id=None,
        model_input_names=[],
        model_max_length=9,
    )
    with pytest.raises(EnvironmentUnfitError) as caught:
        PairTokenizer(stand_in, name="deaf")
    assert str(caught.value) == f"deaf: {problem}"


def test_a_tokenizer_that_does_not_load(tmp_path, tiny_model) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(EnvironmentUnfitError) as caught:
        PairTokenizer.load(str(folder))
    message = str(caught.value)
    assert caught.value.exit_code == 4
    assert message.startswith(f"{folder}: its tokenizer does not load (")
    assert message.endswith("); name a folder with config.json, model.safetensors and tokenizer.json, or a hub id")
    assert "\n" not in message


@pytest.mark.parametrize("load", [PairTokenizer.load, load_config])
def test_a_folder_without_a_configuration_is_no_model(tmp_path, load) -> None:
    with pytest.raises(EnvironmentUnfitError) as caught:
        load(str(tmp_path))
    assert str(caught.value).startswith(f"{tmp_path}: holds no config.json, so it is no model; name a folder with ")
