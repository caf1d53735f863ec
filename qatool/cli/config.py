"""The configuration file: TOML, with one table per command and keys named like the options."""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from qatool.cli.options import Setting

DEFAULT_CONFIG = "qatool.toml"
CONFIG_LABEL = "--config"


class Source(IntEnum):
    """Sources of values, the weakest first."""

    FILE = 0
    VARIABLE = 1
    FLAG = 2


class Given(NamedTuple):
    """A value that the user gave, and its source."""

    value: object
    origin: str
    """The source for messages: ``--top-k``, ``QATOOL_…_TOP_K``, ``qatool.toml [extract] top-k``."""
    source: Source


class Findings(NamedTuple):
    """Values read from one or more sources, and the problems on the way."""

    given: dict[str, Given]
    """Values by field."""
    problems: list[str]
    """Messages, one for each problem."""
    failed: set[str]
    """Labels of the settings that have a problem."""


def read_config(
    path: str | None, *, command: str, commands: Collection[str], settings: Sequence[Setting]
) -> Findings:
    """Return the values and problems in the table of ``command``.

    :param path: the file, ``None`` for ``qatool.toml`` in the working folder, if there is one
    :param commands: names of all commands, which tables may have
    """
    found = Findings({}, [], set())
    if path is None and not Path(DEFAULT_CONFIG).is_file():
        return found
    path = DEFAULT_CONFIG if path is None else path
    try:
        tables = tomllib.loads(Path(path).read_bytes().decode())
    except OSError as error:
        found.problems.append(f"--config {path}: cannot be read ({error.strerror}); name a readable TOML file")
        found.failed.add(CONFIG_LABEL)
        return found
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        found.problems.append(f"{path}: not valid TOML ({error}); mend it or name another file with --config")
        found.failed.add(CONFIG_LABEL)
        return found
    for name, table in tables.items():
        if not isinstance(table, dict):
            found.problems.append(f"{path}: {name} stands outside a table; put it under [{command}]")
        elif name not in commands:
            found.problems.append(f"{path}: [{name}] is not a command{_suggest(name, commands, wrap='[{}]')}")
    table = tables.get(command, {})
    if isinstance(table, dict):
        _read_table(table, where=f"{path} [{command}]", settings=settings, found=found)
    return found


def _read_table(table: Mapping[str, object], *, where: str, settings: Sequence[Setting], found: Findings) -> None:
    by_name = {setting.name: setting for setting in settings}
    for key, value in table.items():
        name = key.replace("_", "-")
        setting = by_name.get(name)
        if setting is None:
            found.problems.append(f"{where} {key}: no such option{_suggest(name, by_name)}")
            found.failed.update(by_name[near].label for near in _near(name, by_name))
        elif setting.field in found.given:
            found.problems.append(f"{where} {key}: given twice, with dashes and underscores; drop one")
        else:
            try:
                found.given[setting.field] = Given(setting.from_toml(value), f"{where} {key}", Source.FILE)
            except ValueError as error:
                found.problems.append(f"{where} {key} = {_toml(value)}: {error}")
                found.failed.add(setting.label)


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _near(word: str, known: Collection[str]) -> list[str]:
    return get_close_matches(word, known, n=1)


def _suggest(word: str, known: Collection[str], *, wrap: str = "{}") -> str:
    """Return the end of a message about an unknown word: a similar known word or, if they are few, all of them."""
    if near := _near(word, known):
        return f"; did you mean {wrap.format(near[0])}?"
    return f"; there is {', '.join(wrap.format(name) for name in sorted(known))}" if len(known) <= 12 else ""
