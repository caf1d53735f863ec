"""A model on the hub: nothing is said of it before all of it is at hand."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, ClassVar

import huggingface_hub
import huggingface_hub.constants
import pytest
import transformers.utils.hub
from support import PROJECT

from qatool.errors import EnvironmentUnfitError
from qatool.models.companions import config_values, load_config
from qatool.models.identity import model_fingerprint
from qatool.models.settings import ModelSettings
from qatool.windows import modelfiles
from qatool.windows.tokenizer import PairTokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator
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
    modelfiles._only_cached.cache_clear()
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
    with pytest.raises(EnvironmentUnfitError) as caught:
        model_fingerprint(MODEL)
    assert caught.value.exit_code == 4
    assert str(caught.value) == (
        "someone/reader: there is no such folder, and as a hub id it cannot be fetched (HF_HUB_OFFLINE is set, and "
        "the cache lacks it); check the name, or fetch it without HF_HUB_OFFLINE"
    )


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


@pytest.fixture
def nowhere() -> Iterator[str]:
    """The address of a hub that refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


class _Answering(BaseHTTPRequestHandler):
    """A hub that answers every request alike."""

    status: ClassVar[int] = 404
    code: ClassVar[str] = "RepoNotFound"

    def do_HEAD(self) -> None:
        self.send_response(self.status)
        self.send_header("X-Error-Code", self.code)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def answering() -> Iterator[str]:
    """The address of a hub."""
    with HTTPServer(("127.0.0.1", 0), _Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def online(hub, monkeypatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(transformers.utils.hub, "is_offline_mode", lambda: False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def _go_to(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make an address that of the hub."""
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    pages = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", pages)


def test_a_mistyped_name_without_a_network_is_told_at_once(nowhere, tmp_path) -> None:
    (tmp_path / "in.jsonl").write_text('{"question": "Who?", "context": "Bob came."}\n')
    environment = os.environ | {"HF_ENDPOINT": nowhere, "HF_HOME": str(tmp_path), "NO_PROXY": "127.0.0.1"}
    del environment["HF_HUB_OFFLINE"]
    done = subprocess.run(
        [sys.executable, "-m", "qatool", "extract", "in.jsonl", "-o", "out.jsonl", "--model", "mymodle"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(PROJECT)},
    )
    assert done.returncode == 4
    assert done.stderr == (
        "Error: mymodle: there is no such folder, and as a hub id it cannot be fetched (the hub cannot be reached: "
        "[Errno 111] Connection refused); check the name, or the network\n"
    )


@pytest.mark.usefixtures("online")
def test_the_cache_suffices_while_the_hub_cannot_be_reached(hub, nowhere, tiny_model, monkeypatch) -> None:
    files = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    hub.release("1" * 40, **{name: (tiny_model / name).read_bytes() for name in files})
    _go_to(nowhere, monkeypatch)
    retries = []
    monkeypatch.setattr("time.sleep", retries.append)
    assert PairTokenizer.load(MODEL).fingerprint == PairTokenizer.load(str(tiny_model)).fingerprint
    assert ModelSettings.load(MODEL) == ModelSettings()
    assert model_fingerprint(MODEL) == model_fingerprint(str(tiny_model))
    assert not retries


@pytest.mark.usefixtures("online")
@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("RepoNotFound", "(the hub has none of that name, or it is private); check the name, or run: hf auth login"),
        (
            "GatedRepo",
            "(its authors grant access one by one); ask for access on its page, and run: hf auth login",
        ),
    ],
)
def test_what_the_hub_refuses(hub, answering, monkeypatch, code, told) -> None:
    _go_to(answering, monkeypatch)
    monkeypatch.setattr(_Answering, "code", code)
    for load in (PairTokenizer.load, ModelSettings.load, load_config):
        with pytest.raises(EnvironmentUnfitError) as caught:
            load(MODEL)
        start = "someone/reader: there is no such folder, and as a hub id it cannot be fetched "
        assert str(caught.value) == start + told


def test_no_hub_id_looks_like_this() -> None:
    with pytest.raises(EnvironmentUnfitError, match=r"a\.\.b: .*\(no hub id is written like this\); check the name"):
        PairTokenizer.load("a..b")
