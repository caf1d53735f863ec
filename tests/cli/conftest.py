from __future__ import annotations

import os
import sys
import types
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from qatool import cli

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qatool.extraction.answering.sample import Sample
    from qatool.observers import Observer
    from qatool.options import ExtractOptions

SUMMARY: dict[str, Any] = {
    "examples": 200,
    "answered": 170,
    "no_answer": 30,
    "odd": 0,
    "rejected": 0,
    "taken_over": 0,
    "truncated_questions": 0,
    "no_answer_threshold": 0.375,
    "reject_reasons": {},
    "windows": 220,
    "windows_read": 220,
    "seconds": 4.9,
    "examples_per_second": 41.2,
    "windows_per_second": 45.0,
    "output": "answers.parquet",
    "rejects": None,
    "model": "tiny",
    "device": "cpu",
    "backend": "torch",
    "precision": "fp32",
}


class StubResult(NamedTuple):
    summary: dict[str, Any]
    samples: tuple[Sample, ...] = ()


class Outcome(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        return self.err.splitlines()


@pytest.fixture(autouse=True)
def _clean_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith(("QATOOL_", "_QATOOL_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> StubWork:
    """Stand in for the work of ``extract``: note the options, return or raise what the test says."""
    stub = StubWork()
    module = types.ModuleType("qatool.commands.extract")
    module.run = stub.run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "qatool.commands.extract", module)
    return stub


class StubWork:
    def __init__(self) -> None:
        self.options: ExtractOptions | None = None
        self.summary = dict(SUMMARY)
        self.failure: BaseException | None = None

    def run(self, options: ExtractOptions, *, observer: Observer) -> StubResult:
        self.options = options
        observer.started(200, "extracting")
        observer.advanced(200, 220)
        if self.failure is not None:
            raise self.failure
        return StubResult(self.summary)


@pytest.fixture
def qatool(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    def call(*words: str) -> Outcome:
        with pytest.raises(SystemExit) as ending:
            cli.main(words)
        captured = capsys.readouterr()
        code = ending.value.code
        assert isinstance(code, int)
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture
def summary() -> dict[str, Any]:
    """What ``extract`` reports at its end."""
    return dict(SUMMARY)
