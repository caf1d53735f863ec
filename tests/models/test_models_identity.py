"""A model's fingerprint: its configuration and weights, and nothing else."""

from __future__ import annotations

import shutil

import pytest

from qatool.errors import EnvironmentUnfitError
from qatool.models.identity import model_fingerprint


@pytest.fixture
def model(tmp_path, tiny_model):
    return shutil.copytree(tiny_model, tmp_path / "model")


def flip(path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_the_folder_does_not_matter(model, tiny_model) -> None:
    assert model_fingerprint(str(model)) == model_fingerprint(str(tiny_model))
    assert len(model_fingerprint(str(model))) == 64


def test_files_beside_do_not_matter(model) -> None:
    before = model_fingerprint(str(model))
    (model / "README.md").write_text("about")
    (model / "qatool.json").write_text("{}")
    (model / "tokenizer.json").unlink()
    assert model_fingerprint(str(model)) == before


@pytest.mark.parametrize(
    ("name", "at"), [("config.json", 3), ("model.safetensors", -1), ("model.safetensors", 5_000)]
)
def test_a_flipped_bit_matters(model, name, at) -> None:
    before = model_fingerprint(str(model))
    flip(model / name, at)
    assert model_fingerprint(str(model)) != before


def test_bytes_that_move_from_shard_to_shard_matter(model) -> None:
    for name, content in (("a.safetensors", b"xy"), ("b.safetensors", b"z")):
        (model / name).write_bytes(content)
    before = model_fingerprint(str(model))
    (model / "a.safetensors").write_bytes(b"x")
    (model / "b.safetensors").write_bytes(b"yz")
    assert model_fingerprint(str(model)) != before


def test_a_file_cannot_pass_for_two(model) -> None:
    (model / "model.safetensors").unlink()
    (model / "a.safetensors").write_bytes(b"xb.safetensors\ny")
    joined = model_fingerprint(str(model))
    (model / "a.safetensors").write_bytes(b"x")
    (model / "b.safetensors").write_bytes(b"y")
    assert model_fingerprint(str(model)) != joined


def test_pickled_weights_count_where_there_are_no_others(model) -> None:
    (model / "pytorch_model.bin").write_bytes(b"1")
    beside = model_fingerprint(str(model))
    (model / "pytorch_model.bin").write_bytes(b"2")
    assert model_fingerprint(str(model)) == beside
    (model / "model.safetensors").unlink()
    alone = model_fingerprint(str(model))
    (model / "pytorch_model.bin").write_bytes(b"1")
    assert len({alone, beside, model_fingerprint(str(model))}) == 3


def test_no_configuration(model) -> None:
    (model / "config.json").unlink()
    with pytest.raises(EnvironmentUnfitError) as caught:
        model_fingerprint(str(model))
    assert (
        str(caught.value) == f"{model / 'config.json'}: cannot be read (No such file or directory); check the model"
    )
