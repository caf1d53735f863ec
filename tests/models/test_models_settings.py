"""What a model says of itself, and what is told when it says nonsense."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from transformers import BertConfig, RobertaConfig, XLNetConfig

from qatool.errors import EnvironmentUnfitError
from qatool.models.settings import ModelSettings, longest_input


def load(tmp_path, content: object) -> ModelSettings:
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / "qatool.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    return ModelSettings.load(str(tmp_path))


def test_without_a_file_there_are_defaults(tmp_path, monkeypatch) -> None:
    assert ModelSettings.load(str(tmp_path)) == ModelSettings()
    monkeypatch.setattr("qatool.models.settings.hub_file", lambda model, name: None)
    assert ModelSettings.load("someone/some-model") == ModelSettings()
    assert ModelSettings() == ModelSettings(
        max_length=None,
        stride=None,
        temperature=1.0,
        answerable_slope=1.0,
        answerable_bias=0.0,
        no_answer_threshold=None,
        knows_no_answer=True,
    )


def test_a_key_that_nearly_names_a_setting_is_told_of(tmp_path, caplog) -> None:
    load(tmp_path, {"no-answer-treshold": 0.3, "calibration": {}, "qatool": "0.1.0", "note": "mine"})
    assert caplog.messages == [
        f"{tmp_path / 'qatool.json'}: no-answer-treshold sets nothing; did you mean no_answer_threshold?"
    ]


def test_all_settings_are_read_and_others_passed_over(tmp_path) -> None:
    values = {
        "max_length": 256,
        "stride": 64,
        "temperature": 1.5,
        "answerable_slope": 0.25,
        "answerable_bias": -1.5,
        "no_answer_threshold": 0.25,
        "knows_no_answer": False,
    }
    assert load(tmp_path, {**values, "written_by": "a later version"}) == ModelSettings(**values)
    assert load(tmp_path, {}) == ModelSettings()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ([], "must hold a JSON object; mend or remove it"),
        ("null", "must hold a JSON object; mend or remove it"),
        ({"temperature": "1"}, "temperature is '1', not a number above 0; mend it"),
        ({"temperature": None}, "temperature is None, not a number above 0; mend it"),
        ({"temperature": 0}, "temperature is 0, not a number above 0; mend it"),
        ({"temperature": -1}, "temperature is -1, not a number above 0; mend it"),
        ({"answerable_slope": -0.1}, "answerable_slope is -0.1, not a number from 0; mend it"),
        ({"answerable_bias": "0"}, "answerable_bias is '0', not a number; mend it"),
        ({"stride": True}, "stride is True, not a whole number from 0; mend it"),
        ({"stride": -5}, "stride is -5, not a whole number from 0; mend it"),
        ({"max_length": [384]}, "max_length is [384], not a whole number from 1; mend it"),
        ({"no_answer_threshold": {}}, "no_answer_threshold is {}, not a number from 0 to 1; mend it"),
        ({"no_answer_threshold": 1.5}, "no_answer_threshold is 1.5, not a number from 0 to 1; mend it"),
        ({"knows_no_answer": 1}, "knows_no_answer is 1, not true or false; mend it"),
        ({"knows_no_answer": None}, "knows_no_answer is None, not true or false; mend it"),
    ],
)
def test_wrong_values(tmp_path, content, problem) -> None:
    with pytest.raises(EnvironmentUnfitError) as caught:
        load(tmp_path, content)
    assert str(caught.value) == f"{tmp_path / 'qatool.json'}: {problem}"
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    "content",
    [
        '{"temperature": NaN}',
        '{"temperature": Infinity}',
        '{"max_length": 128.5}',
        '{"stride": 7.5}',
        '{"max_length": 0}',
    ],
)
def test_numbers_that_make_no_sense(tmp_path, content) -> None:
    with pytest.raises(EnvironmentUnfitError):
        load(tmp_path, content)


@pytest.mark.parametrize("content", ["{", "", "\udcff"])
def test_broken_file(tmp_path, content) -> None:
    with pytest.raises(EnvironmentUnfitError) as caught:
        load(tmp_path, content)
    assert str(caught.value).startswith(f"{tmp_path / 'qatool.json'}: cannot be read (")
    assert str(caught.value).endswith("); mend or remove it")


def test_unreadable_file(tmp_path) -> None:
    (tmp_path / "qatool.json").mkdir()
    with pytest.raises(EnvironmentUnfitError, match=r"cannot be read \(.*Is a directory.*\); mend or remove it"):
        ModelSettings.load(str(tmp_path))


@pytest.mark.parametrize(
    ("config", "limit", "expected"),
    [
        (BertConfig(max_position_embeddings=512), 10**30, 512),
        (BertConfig(max_position_embeddings=512), 128, 128),
        (RobertaConfig(max_position_embeddings=514), 10**30, 512),
        (RobertaConfig(max_position_embeddings=514), 512, 512),
        (RobertaConfig(max_position_embeddings=66, pad_token_id=0), 10**30, 65),
        (XLNetConfig(), 1000, 1000),
        (SimpleNamespace(), 77, 77),
        (SimpleNamespace(max_position_embeddings=0), 77, 77),
        (SimpleNamespace(max_position_embeddings=-1), 77, 77),
        (SimpleNamespace(max_position_embeddings=None), 77, 77),
        (SimpleNamespace(max_position_embeddings=514, model_type="xlm-roberta", pad_token_id=1), 10**30, 512),
        (SimpleNamespace(max_position_embeddings=514, model_type="mpnet", pad_token_id=1), 10**30, 512),
    ],
)
def test_longest_input(config, limit, expected) -> None:
    assert longest_input(config, limit) == expected
