"""Which model is meant."""

from __future__ import annotations

import pytest

from qatool.errors import EnvironmentUnfitError
from qatool.models.named import model_name


def test_flag_then_variable_then_an_error(monkeypatch) -> None:
    monkeypatch.setenv("QATOOL_MODEL", "other")
    assert model_name("mine") == "mine"
    assert model_name(None) == "other"
    monkeypatch.delenv("QATOOL_MODEL")
    with pytest.raises(EnvironmentUnfitError) as caught:
        model_name(None)
    assert caught.value.problems == (
        "no model: qatool ships none yet; name one with --model DIR|HUB_ID or the variable QATOOL_MODEL",
    )
