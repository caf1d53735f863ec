"""The mechanism with a command that is not ``extract``: one positional argument, a required option."""

from __future__ import annotations

from dataclasses import dataclass

import click
import pytest

from qatool.cli.command import OptionsCommand
from qatool.errors import UsageError
from qatool.options import Flag, argument, option, required


@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    answers: str = argument(Flag("A file of answers.", "Input"))
    references: str = required(Flag("The right answers.", "Input", metavar="REF"))
    min_f1: float | None = option(Flag("Fail below this F1.", "Gate", name="--min-f1"))


def score(*words: str) -> list[ScoreOptions]:
    seen: list[ScoreOptions] = []
    command = OptionsCommand("score", options_class=ScoreOptions, callback=seen.append, help="Score.")
    with command.make_context("score", list(words)) as ctx:
        command.invoke(ctx)
    return seen


def test_one_positional_argument_and_a_required_option() -> None:
    assert score("a.parquet", "--references", "r.json", "--min-f1", "80") == [
        ScoreOptions(answers="a.parquet", references="r.json", min_f1=80.0)
    ]


@pytest.mark.parametrize(
    ("words", "starts"),
    [
        ([], ["ANSWERS: missing", "--references: missing"]),
        (["a", "b", "--references", "r"], ["b: one argument too many; drop it"]),
    ],
)
def test_problems(words, starts) -> None:
    with pytest.raises(UsageError) as error:
        score(*words)
    assert [problem[: len(start)] for problem, start in zip(error.value.problems, starts, strict=True)] == starts


def test_help() -> None:
    command = OptionsCommand("score", options_class=ScoreOptions, callback=print, help="Score.")
    text = command.get_help(click.Context(command, info_name="score", terminal_width=80))
    assert text.startswith(
        "Usage: score ANSWERS --references REF [OPTIONS]\n\n  Score.\n\nInput:\n"
        "  ANSWERS           A file of answers.  [required]\n"
        "  --references REF  The right answers.  [required]\n\nGate:\n"
        "  --min-f1 X  Fail below this F1.\n\nOther:\n"
    )
