"""JSON Lines: one object per line."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from qatool.files.sources.rows import Row, quoted
from qatool.files.sources.streams import open_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from qatool.files.sources.source import Source

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class JsonlReader:
    """Reads JSON Lines; a line that cannot be read is a bad row."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def columns(self) -> None:
        """Return ``None``: each record has its own fields."""

    def arrow_type(self, column: str) -> None:
        """Return ``None``: nothing is declared."""

    def rows(self, columns: Collection[str] | None = None) -> Iterator[Row]:
        """Yield one row for each line that is not blank; lines end at ``\\n`` only.

        An object that has one of the needed columns twice becomes a bad row.

        :raises InputError: the file cannot be read
        """
        number = 0
        parse = json.JSONDecoder(object_pairs_hook=_object).decode
        with open_bytes(self.source) as stream:
            for line, data in enumerate(stream, start=1):
                content = data.removeprefix(BYTE_ORDER_MARK) if line == 1 else data
                if content.isspace() or not content:
                    continue
                yield _row(number, line, content, parse, columns)
                number += 1


class _Doubled(dict[str, Any]):
    """An object in which keys occur more than once; it holds the last value of each."""

    twice: frozenset[str]
    """The keys that occur more than once."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) == len(pairs):
        return values
    doubled = _Doubled(values)
    doubled.twice = frozenset(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
    return doubled


def _row(number: int, line: int, content: bytes, parse: Callable[[str], Any], columns: Collection[str] | None) -> Row:
    try:
        values = parse(content.decode())
    except UnicodeDecodeError as error:
        return Row(number, line, None, f"invalid UTF-8 (byte {error.start + 1} of the line)")
    except json.JSONDecodeError as error:
        return Row(number, line, None, f"invalid JSON ({error.msg}, character {error.pos + 1} of the line)")
    except ValueError:
        return Row(number, line, None, "invalid JSON (a number with too many digits)")
    except RecursionError:
        return Row(number, line, None, "invalid JSON (nested too deeply)")
    if not isinstance(values, dict):
        return Row(number, line, None, f"is {kind_of(values)}, not an object")
    if isinstance(values, _Doubled):
        twice = [key for key in values if key in values.twice and (columns is None or key in columns)]
        if twice:
            return Row(number, line, {**values, **dict.fromkeys(twice)}, duplicate(twice[0]))
    return Row(number, line, values)


def duplicate(key: str) -> str:
    """Return why an object that has ``key`` twice is a bad row: it does not say which value counts."""
    return f"duplicate key {quoted(key)}"


def kind_of(value: object) -> str:
    """Return the name of a value's JSON type, with its article."""
    if value is None:
        return "null"
    names: dict[type, str] = {bool: "a truth value", str: "a string", list: "an array", dict: "an object"}
    return names.get(type(value), "a number")
