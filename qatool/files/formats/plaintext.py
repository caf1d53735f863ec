"""Text and Markdown: one document per file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qatool.files.sources.rows import Row
from qatool.files.sources.streams import open_bytes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from qatool.files.sources.source import Source


class TextReader:
    """Reads a whole file as one row: ``id`` is the source's name, ``context`` the text exactly as decoded.

    Nothing is translated or stripped, not even a byte order mark: offsets refer to the text as it stands.
    """

    def __init__(self, source: Source) -> None:
        self.source = source

    def columns(self) -> tuple[str, ...]:
        """Return ``id`` and ``context``."""
        return ("id", "context")

    def arrow_type(self, column: str) -> None:
        """Return ``None``: nothing is declared."""

    def rows(self, columns: Collection[str] | None = None) -> Iterator[Row]:
        """Yield one row, which is bad if the file is not UTF-8; the file is read only if ``context`` is needed.

        :raises InputError: the file cannot be read
        """
        values: dict[str, str | None] = {"id": self.source.name, "context": None}
        if columns is not None and "context" not in columns:
            yield Row(0, None, values)
            return
        with open_bytes(self.source) as stream:
            data = stream.read()
        try:
            values["context"] = data.decode()
        except UnicodeDecodeError as error:
            yield Row(0, None, values, f"context is not valid UTF-8 (byte {error.start + 1} of the file)")
            return
        yield Row(0, None, values)
