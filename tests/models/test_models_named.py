"""Which model is meant."""

from __future__ import annotations

from qatool.models.named import BUNDLED, model_name


def test_flag_then_variable_then_the_one_that_ships(monkeypatch) -> None:
    monkeypatch.setenv("QATOOL_MODEL", "other")
    assert model_name("mine") == "mine"
    assert model_name(None) == "other"
    monkeypatch.delenv("QATOOL_MODEL")
    assert model_name(None) == str(BUNDLED)
