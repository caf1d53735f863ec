"""Every command and every Python block of the README and the docs runs as typed, on a tiny model."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import FIXTURES, PROJECT

from qatool import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Yield page and text of every fenced block in ``language``."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            yield page.name, block


def commands() -> list[tuple[str, list[str]]]:
    """Return page and calls of qatool of every block, without the environment's folder and a pipe behind."""
    found = []
    for page, block in blocks("sh"):
        parts = [part for line in block.replace("\\\n", " ").splitlines() for part in line.split(" && ")]
        calls = [part.strip().removeprefix(".venv/bin/").partition(" | ")[0] for part in parts]
        calls = [call for call in calls if call.startswith("qatool ")]
        if calls:
            found.append((page, calls))
    return found


@pytest.fixture(scope="session")
def answered(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A folder with a labelled corpus and its answers, which some pages start from."""
    folder = tmp_path_factory.mktemp("answered")
    lines = (FIXTURES / "corpus.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "labelled.jsonl").write_text("".join(lines[:12]), encoding="utf-8")
    words = ["extract", str(folder / "labelled.jsonl"), "--model", str(tiny_model), "-q"]
    assert cli.run([*words, "-o", str(folder / "answers.parquet")]) == 0
    shutil.copy(folder / "answers.parquet", folder / "other.parquet")
    return folder


@pytest.fixture
def workplace(tmp_path: Path, tiny_model: Path, answered: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with everything the pages name."""
    shutil.copytree(FIXTURES, tmp_path / "fixtures")
    shutil.copytree(FIXTURES / "documents", tmp_path / "contracts")
    shutil.copy(FIXTURES / "corpus.parquet", tmp_path / "corpus.parquet")
    shutil.copy(FIXTURES / "documents" / "plum-jam-recipe.txt", tmp_path / "minutes.txt")
    shutil.copytree(tiny_model, tmp_path / "model")
    shutil.copytree(answered, tmp_path, dirs_exist_ok=True)
    shutil.copytree(answered, tmp_path / "data", ignore=shutil.ignore_patterns("*.jsonl"))
    (tmp_path / "data" / "corpus").mkdir()
    shutil.copy(answered / "labelled.jsonl", tmp_path / "data" / "corpus")
    questions = [{"question": "Who wrote it?"}, {"question": "When?"}]
    for name in ("train.jsonl", "dev.jsonl"):
        shutil.copy(answered / "labelled.jsonl", tmp_path / name)
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(one) + "\n" for one in questions))
    (tmp_path / "tickets.csv").write_text('ticket_no,ask,body\n7,What broke?,"The pump broke, again."\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QATOOL_MODEL", str(tiny_model))
    monkeypatch.setenv("QATOOL_EXTRACT_LIMIT", "12")
    monkeypatch.setenv("QATOOL_EVALUATE_PARTIAL", "yes")
    monkeypatch.setenv("QATOOL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("QATOOL_FINETUNE_ACCELERATOR", "cpu")
    monkeypatch.setenv("QATOOL_DOCTOR_SPEED", "no")
    # A model of random weights on a few rows: its F1 means nothing.
    monkeypatch.setenv("QATOOL_EXPORT_LIMIT", "12")
    monkeypatch.setenv("QATOOL_EXPORT_MAX_F1_DROP", "100")
    return tmp_path


def test_the_pages_have_commands() -> None:
    assert len(commands()) > 5


@pytest.mark.parametrize(
    ("page", "calls"), commands(), ids=lambda value: value if isinstance(value, str) else value[0]
)
def test_commands(page: str, calls: list[str], workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for call in calls:
        words = shlex.split(call, comments=True)[1:]
        if "--model" in words:
            words[words.index("--model") + 1] = str(workplace / "model")
        words = [word.replace("qatool/models/default", str(workplace / "model")) for word in words]
        words = [word.replace("/data/", f"{workplace}/data/") for word in words]
        assert cli.run(words) == 0, capfd.readouterr().err


@pytest.mark.parametrize(("page", "block"), list(blocks("python")))
def test_python(page: str, block: str, workplace: Path) -> None:
    exec(compile(block, page, "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
