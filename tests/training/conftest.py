"""A small set of labelled questions and a training that takes seconds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support import FIXTURES

from qatool.options import FinetuneOptions

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch) -> None:
    """No test reads or fills the user's cache."""
    monkeypatch.setenv("QATOOL_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def labelled(tmp_path_factory) -> Path:
    """Questions about short passages, made from the fixtures' documents; each fourth without an answer."""
    path = tmp_path_factory.mktemp("labelled") / "train.jsonl"
    lines = (FIXTURES / "documents.jsonl").read_text(encoding="utf-8").splitlines()
    with path.open("w", encoding="utf-8") as stream:
        for number, line in enumerate(lines[:40]):
            context = json.loads(line)["context"][:300]
            word = context.split()[3]
            answers = {"text": [word], "answer_start": [context.index(word)]}
            if number % 4 == 3:
                answers = {"text": [], "answer_start": []}
            row = {"id": f"n{number}", "question": f"Which word is number {number % 4}?", "context": context}
            stream.write(json.dumps({**row, "answers": answers}) + "\n")
    return path


@pytest.fixture
def options(labelled, tiny_model, tmp_path) -> Any:
    """Make options of a training of a few steps; keywords replace what is given here."""

    def make(**changed: Any) -> FinetuneOptions:
        given = {
            "inputs": (str(labelled),),
            "output": str(tmp_path / "model"),
            "model": str(tiny_model),
            "batch_size": 8,
            "learning_rate": 1e-3,
            "max_length": 96,
            "stride": 16,
            "progress": "none",
            "accelerator": "cpu",
            "precision": "fp32",
        }
        return FinetuneOptions(**{**given, **changed})

    return make
