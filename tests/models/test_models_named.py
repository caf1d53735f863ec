"""Which model is meant."""

from __future__ import annotations

import pytest

from qatool.errors import EnvironmentUnfitError
from qatool.models.named import BUNDLED, model_name


def test_flag_then_variable_then_the_one_that_ships(monkeypatch) -> None:
    monkeypatch.setenv("QATOOL_MODEL", "other")
    assert model_name("mine") == "mine"
    assert model_name(None) == "other"
    monkeypatch.delenv("QATOOL_MODEL")
    assert model_name(None) == str(BUNDLED)


@pytest.mark.parametrize("name", ["./nosuch", "/nope", "a/b/c", "~/model", "mo del", ""])
def test_what_is_no_folder_and_no_hub_id(name, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QATOOL_MODEL", name)
    if not name:
        assert model_name(None) == str(BUNDLED)
        return
    with pytest.raises(EnvironmentUnfitError, match="no such folder; name one with"):
        model_name(None)


def test_a_name_that_no_folder_can_have() -> None:
    with pytest.raises(EnvironmentUnfitError, match=r"^x{80}…: cannot be looked up \(File name too long\); check"):
        model_name("x" * 300)


def test_a_file_is_no_model(tmp_path) -> None:
    path = tmp_path / "model.safetensors"
    path.touch()
    with pytest.raises(EnvironmentUnfitError, match="is no folder; name one"):
        model_name(str(path))
