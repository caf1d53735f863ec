"""Rows of every kind, the features made of them, and both sides of a comparison."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tokenizerhelpers import texts

from qatool import cli

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SIZES = ("--max-length", "60", "--stride", "20", "--max-question-length", "12")


def rows() -> list[dict[str, Any]]:
    """Long and short contexts, shared and not, odd ones, questions that are cut, and bad rows."""
    long, short = [text[:1500] for text in texts()[:14]], [text[:90] for text in texts()[14:40]]
    made: list[dict[str, Any]] = []
    for number, context in enumerate([*long, *short]):
        made += [
            {"question": f"What is said of number {number}?", "context": context},
            {"question": context[40:60].strip() or "Who?", "context": context},
        ]
    made += [
        {"question": "Who?", "context": long[3]},
        {"question": "Who?", "context": long[3]},
        {"question": "  Who?", "context": long[3]},
        {"question": " \n Who?", "context": long[4]},
        {"question": "Who went where and when and why and with whom " * 3, "context": long[5]},
        {"question": "", "context": long[1]},
        {"question": "Who?", "context": " \n"},
        {"question": "Who?", "context": "\u200b"},
        {"question": "\u200b", "context": short[2]},
    ]
    return [{"id": f"row {number}", **row} for number, row in enumerate(made)]


def with_bad_rows() -> list[dict[str, Any]]:
    """The same with bad rows among them."""
    made = rows()
    made[3:3] = [{"id": "null", "question": None, "context": "Nobody."}, {"id": "none", "context": "Nobody."}]
    return [*made, {"id": "last", "question": 5, "context": "Nobody."}]


def write(path: Path, made: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")


def run(*words: object, code: int = 0) -> None:
    """Run the command line, which must end with an exit code."""
    assert cli.run([str(word) for word in words]) == code


def prepare(model: Path, *more: object, name: str = "features", source: str = "in.jsonl", code: int = 0) -> None:
    """Make features of a file in the working folder."""
    run("prep", source, "-o", name, "--model", model, "-q", "--workers", 1, *SIZES, *more, code=code)
