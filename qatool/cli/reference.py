"""Write the reference pages that are generated from code: ``python -m qatool.cli.reference docs/``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from qatool.cli import PROGRAM, commands
from qatool.cli.command import CONTEXT_SETTINGS, HELP_WIDTH
from qatool.errors import exit_code_table

_MADE_BY = "<!-- Made by `python -m qatool.cli.reference docs/`; do not edit. -->"
_CODES_BEGIN = "<!-- exit codes: made by `python -m qatool.cli.reference docs/` -->\n"
_CODES_END = "<!-- end -->"
_ENVIRONMENT = f"""\
## Variables and the configuration file

An option is taken from the command line, else from the environment, else from the configuration file, else it
has its default. `QATOOL_<COMMAND>_<OPTION>` is the variable of an option (`QATOOL_EXTRACT_TOP_K=3`);
`QATOOL_MODEL` names the model for every command with `--model`. A repeatable option takes one value per line.
An empty variable counts as not set. A variable that sets nothing but looks like one of the command's options
(`QATOOL_EXTRACT_LIMT`) causes a warning.

The configuration file is `qatool.toml` in the working folder, or the one that `--config FILE` names
(`--config /dev/null`: none). It has one table per command; keys are option names, with dashes or underscores:

```toml
[extract]
input = ["corpus/*.parquet"]
output = "answers.parquet"
top-k = 3
keep = ["title", "url"]
```

Paths in it are relative to the working folder, not to the file.

## Completion in the shell

```sh
eval "$(_{PROGRAM.upper()}_COMPLETE=bash_source {PROGRAM})"
```

For the other shells, use `zsh_source` or `fish_source`.
"""


def pages() -> dict[str, str]:
    """Return the text of each generated page, by file name."""
    return {"cli.md": _cli_page(), "exit-codes.md": _exit_codes_page()}


def write(folder: Path) -> None:
    """Write every generated page into ``folder``, and the table of exit codes into pages that have its marks."""
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")
    for path in folder.glob("*.md"):
        text = path.read_text(encoding="utf-8")
        if (filled := with_exit_codes(text)) != text:
            path.write_text(filled, encoding="utf-8")


def with_exit_codes(text: str) -> str:
    """Return a page with the table of exit codes between its marks; a page without marks unchanged."""
    before, begin, rest = text.partition(_CODES_BEGIN)
    _, end, after = rest.partition(_CODES_END)
    return f"{before}{begin}{_exit_codes_table()}\n{end}{after}" if end else text


def _cli_page() -> str:
    root = click.Context(commands, info_name=PROGRAM, terminal_width=HELP_WIDTH, **CONTEXT_SETTINGS)
    parts = [_MADE_BY, "# Command line", _help(root)]
    for name in commands.list_commands(root):
        command = commands.commands[name]
        ctx = click.Context(command, info_name=name, parent=root, terminal_width=HELP_WIDTH, **CONTEXT_SETTINGS)
        parts += [f"## {PROGRAM} {name}", _help(ctx)]
    return "\n\n".join([*parts, _ENVIRONMENT])


def _help(ctx: click.Context) -> str:
    return f"```text\n$ {ctx.command_path} --help\n{ctx.command.get_help(ctx)}\n```"


def _exit_codes_page() -> str:
    after = "When several apply: 130/143, 1, 9, 3, 8, 5. Any other code is a failure."
    return f"{_MADE_BY}\n\n# Exit codes\n\n{_exit_codes_table()}\n\n{after}\n"


def _exit_codes_table() -> str:
    rows = [f"| {code} | {meaning} |" for code, meaning in exit_code_table()]
    return "\n".join(["| code | meaning |", "| --- | --- |", *rows])


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
