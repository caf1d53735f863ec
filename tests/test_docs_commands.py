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


def commands() -> list[tuple[str, str]]:
    """Return page and text of every line that calls qatool, without the environment's folder and a pipe behind."""
    found = []
    for page, block in blocks("sh"):
        for line in block.replace("\\\n", " ").splitlines():
            for part in line.split(" && "):
                command = part.strip().removeprefix(".venv/bin/").partition(" | ")[0]
                if command.startswith("qatool "):
                    found.append((page, command))
    return found


@pytest.fixture
def workplace(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with everything the pages name."""
    shutil.copytree(FIXTURES, tmp_path / "fixtures")
    shutil.copytree(FIXTURES / "documents", tmp_path / "contracts")
    shutil.copy(FIXTURES / "corpus.parquet", tmp_path / "corpus.parquet")
    shutil.copy(FIXTURES / "documents" / "plum-jam-recipe.txt", tmp_path / "minutes.txt")
    shutil.copytree(tiny_model, tmp_path / "model")
    questions = [{"question": "Who wrote it?"}, {"question": "When?"}]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(one) + "\n" for one in questions))
    (tmp_path / "tickets.csv").write_text('ticket_no,ask,body\n7,What broke?,"The pump broke, again."\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QATOOL_MODEL", str(tiny_model))
    monkeypatch.setenv("QATOOL_EXTRACT_LIMIT", "12")
    return tmp_path


def test_the_pages_have_commands() -> None:
    assert len(commands()) > 5


@pytest.mark.parametrize(("page", "command"), commands())
def test_command(page: str, command: str, workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(command)[1:]
    if "--model" in words:
        words[words.index("--model") + 1] = str(workplace / "model")
    assert cli.run(words) == 0, capfd.readouterr().err


@pytest.mark.parametrize(("page", "block"), list(blocks("python")))
def test_python(page: str, block: str, workplace: Path) -> None:
    exec(compile(block, page, "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
