"""A model on the hub: nothing is said of it before all of it is at hand."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import huggingface_hub.constants
import pytest
import transformers.utils.hub

from qatool.errors import EnvironmentUnfitError
from qatool.models.companions import config_values
from qatool.models.identity import model_fingerprint
from qatool.models.settings import ModelSettings

if TYPE_CHECKING:
    from pathlib import Path

MODEL = "someone/reader"


class Hub:
    """The cache of this machine, and one revision after the other of a model that it may lack files of."""

    def __init__(self, cache: Path) -> None:
        self._root = cache / "models--someone--reader"
        self.snapshot = self._root
        self.elsewhere: dict[str, bytes] = {}
        """What could be fetched, by name."""

    def release(self, revision: str, **files: bytes) -> None:
        """Make a new revision the current one, and only ``files`` of it at hand."""
        self.snapshot = self._root / "snapshots" / revision
        self.snapshot.mkdir(parents=True)
        (self._root / "refs").mkdir(exist_ok=True)
        (self._root / "refs" / "main").write_text(revision)
        for name, content in files.items():
            (self.snapshot / name).write_bytes(content)

    def fetch(self, name: str) -> None:
        if name in self.elsewhere:
            (self.snapshot / name).write_bytes(self.elsewhere[name])


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Hub:
    made = Hub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(transformers.utils.hub, "is_offline_mode", lambda: True)
    found_in_cache = transformers.utils.hub.cached_file

    def cached_file(model: str, name: str, **options) -> str | None:
        hub_has = made.elsewhere.get(name)
        if hub_has is not None:
            made.fetch(name)
        return found_in_cache(model, name, **options)

    monkeypatch.setattr(transformers.utils.hub, "cached_file", cached_file)
    return made


def test_the_fingerprint_is_that_of_a_folder(hub, tiny_model, tmp_path) -> None:
    files = {name: (tiny_model / name).read_bytes() for name in ("config.json", "model.safetensors")}
    hub.release("1" * 40, **files)
    shutil.copytree(tiny_model, tmp_path / "folder")
    assert model_fingerprint(MODEL) == model_fingerprint(str(tmp_path / "folder"))


def test_weights_are_fetched_before_they_are_told_apart(hub) -> None:
    seen = []
    for revision, weights in (("1" * 40, b"one"), ("2" * 40, b"other")):
        hub.release(revision, **{"config.json": b"{}"})
        hub.elsewhere = {"model.safetensors": weights}
        seen.append(model_fingerprint(MODEL))
    assert seen[0] != seen[1]


def test_a_configuration_alone_is_no_model(hub) -> None:
    hub.release("1" * 40, **{"config.json": b"{}"})
    with pytest.raises(EnvironmentUnfitError, match="someone/reader: its weights cannot be found"):
        model_fingerprint(MODEL)


def test_nothing_at_hand(hub) -> None:
    with pytest.raises(EnvironmentUnfitError, match="someone/reader: its configuration cannot be found"):
        model_fingerprint(MODEL)


def test_all_shards_are_fetched(hub) -> None:
    index = {"metadata": {}, "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    at_hand = {"config.json": b"{}", "model.safetensors.index.json": json.dumps(index).encode()}
    hub.release("1" * 40, **at_hand, **{"model-1.safetensors": b"1"})
    with pytest.raises(EnvironmentUnfitError, match="someone/reader: its weights cannot be found"):
        model_fingerprint(MODEL)
    (hub.snapshot / "model-2.safetensors").write_bytes(b"2")
    both = model_fingerprint(MODEL)
    (hub.snapshot / "model-2.safetensors").write_bytes(b"3")
    assert model_fingerprint(MODEL) != both


def test_settings_come_along(hub) -> None:
    hub.release("1" * 40, **{"config.json": b"{}", "qatool.json": b'{"knows_no_answer": false, "temperature": 2}'})
    assert ModelSettings.load(MODEL) == ModelSettings(knows_no_answer=False, temperature=2)
    hub.release("2" * 40, **{"config.json": b"{}"})
    assert ModelSettings.load(MODEL) == ModelSettings()


def test_the_configuration_is_found_in_a_folder_and_on_the_hub(hub, tiny_model, tmp_path) -> None:
    told = config_values(str(tiny_model))
    hub.release("1" * 40, **{"config.json": (tiny_model / "config.json").read_bytes()})
    assert config_values(MODEL).max_position_embeddings == told.max_position_embeddings
    assert vars(config_values(str(tmp_path))) == {}
    (tmp_path / "config.json").write_text("[]")
    assert vars(config_values(str(tmp_path))) == {}
