"""The pages made from code are those in the repository, and say what the contract says."""

from __future__ import annotations

from pathlib import Path

import pytest

from qatool.cli import reference
from qatool.errors import exit_code_table

DOCS = Path(__file__).parent.parent / "docs"
# As promised to users: a code never changes its meaning.
PROMISED = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 130, 143}


@pytest.mark.parametrize("name", ["cli.md", "exit-codes.md"])
def test_page_is_up_to_date(name) -> None:
    assert (DOCS / name).read_text() == reference.pages()[name], "run: python -m qatool.cli.reference docs/"


def test_exit_codes_are_those_promised() -> None:
    assert {code for code, _ in exit_code_table()} == PROMISED


def test_help_fits_100_columns() -> None:
    assert max(map(len, reference.pages()["cli.md"].splitlines())) <= 116
    for block in reference.pages()["cli.md"].split("```text")[1:]:
        assert max(map(len, block.split("```")[0].splitlines())) <= 100


def test_write(tmp_path) -> None:
    reference.write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cli.md", "exit-codes.md"]
