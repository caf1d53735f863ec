"""JSON Lines: one object a line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from qatool.files.rows import Row
from qatool.files.streams import open_bytes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from qatool.files.paths import Source

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class JsonlReader:
    """Reads JSON Lines; a line that cannot be read is a bad row."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def columns(self) -> None:
        """Return ``None``: each record has its own fields."""

    def arrow_type(self, column: str) -> None:
        """Return ``None``: nothing is declared."""

    def rows(self, columns: Collection[str] | None = None) -> Iterator[Row]:  # noqa: ARG002
        """Yield a row a line that is not blank; lines end at ``\\n`` only.

        :raises InputError: the file cannot be read
        """
        number = 0
        with open_bytes(self.source) as stream:
            for line, data in enumerate(stream, start=1):
                content = data.removeprefix(BYTE_ORDER_MARK) if line == 1 else data
                if content.isspace() or not content:
                    continue
                yield _row(number, line, content)
                number += 1


def _row(number: int, line: int, content: bytes) -> Row:
    try:
        values = json.loads(content.decode())
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
    return Row(number, line, values)


def kind_of(value: object) -> str:
    """Return what JSON calls the kind of a value, with its article."""
    if value is None:
        return "null"
    names: dict[type, str] = {bool: "a truth value", str: "a string", list: "an array", dict: "an object"}
    return names.get(type(value), "a number")
