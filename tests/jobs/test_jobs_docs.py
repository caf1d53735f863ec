"""docs/cron.md: its commands parse, its table is that of the code, its systemd units are complete."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from qatool.cli import commands
from qatool.cli.reference import with_exit_codes
from qatool.errors import exit_code_table

PAGE = (Path(__file__).parents[2] / "docs" / "cron.md").read_text()
COMMANDS = re.findall(r"(?:^|\s|/opt/qatool/bin/|=)(qatool (?:extract|status) /data/.*)$", PAGE, flags=re.MULTILINE)


def test_the_table_of_exit_codes_is_up_to_date() -> None:
    assert with_exit_codes(PAGE) == PAGE, "run: python -m qatool.cli.reference docs/"
    assert all(f"| {code} | {meaning} |\n" in PAGE for code, meaning in exit_code_table())


def test_all_commands_are_found() -> None:
    assert len(COMMANDS) == 5


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_are_understood(line, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    name, *words = shlex.split(line)[1:]
    context = click.Context(commands, info_name="qatool")
    command = commands.commands[name]
    with command.make_context(name, words, parent=context) as ctx:
        assert ctx.params["options"].output == "/data/answers.parquet"
