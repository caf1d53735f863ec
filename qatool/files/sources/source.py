"""One input file: where it is, and which format and compression its name implies."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from qatool.errors import InputError
from qatool.files.sources.partitions import Partitions, partitions_of

if TYPE_CHECKING:
    from qatool.files.storage.locations import Location
    from qatool.files.storage.objectstat import ObjectStat

Format = Literal["parquet", "jsonl", "csv", "tsv", "json", "text"]
Compression = Literal["gzip", "zstd"]

FORMATS: dict[str, Format] = {
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "json",
    ".txt": "text",
    ".md": "text",
}
COMPRESSIONS: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd"}
SUPPORTED = f"{', '.join(FORMATS)}; all but .parquet also with {' or '.join(COMPRESSIONS)} behind"

STDIN_NAME = "<stdin>"
"""Name of the copy of standard input in messages and ids."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One input file."""

    path: Location
    name: str
    """Name in ids and messages: the file's name, or its path below the folder or the fixed part of the glob."""
    format: Format
    compression: Compression | None = None
    partitions: Partitions = ()
    """Columns named by the folders above the file (``year=2024/``), with the file's value of each."""
    listed: ObjectStat | None = None
    """What the store said of an object when the inputs were resolved, else ``None``."""

    @property
    def is_stdin(self) -> bool:
        """Whether this source is the copy of standard input."""
        return self.name == STDIN_NAME


def source_of(path: Location, name: str, listed: ObjectStat | None = None) -> Source:
    """Return the source at ``path``, with the format that its suffix names, in upper or lower case.

    :param name: name of the source in ids and messages
    :param listed: size and version of an object, if already known
    :raises InputError: the suffix is not a supported one
    """
    source = source_or_none(path, name, listed)
    if source is None:
        raise InputError(f"{path}: its suffix says no format that can be read; supported are {SUPPORTED}")
    return source


def source_or_none(path: Location, name: str, listed: ObjectStat | None = None) -> Source | None:
    """Return the source at ``path``, ``None`` where its suffix is not a supported one."""
    stem, last = os.path.splitext(path.name.lower())  # noqa: PTH122 (".csv" alone is a hidden file, not a suffix)
    compression = COMPRESSIONS.get(last)
    suffix = last if compression is None else os.path.splitext(stem)[1]  # noqa: PTH122
    kind = FORMATS.get(suffix)
    if kind is None or (kind == "parquet" and compression is not None):
        return None
    return Source(
        path=path,
        name=valid_text(name),
        format=kind,
        compression=compression,
        partitions=partitions_of(_folder_of(path)),
        listed=listed,
    )


def _folder_of(path: Location) -> str:
    return os.fsencode(path.parent).decode("utf-8", "replace") if isinstance(path, Path) else path.parent.key


def valid_text(name: str) -> str:
    """Return the name with bytes that are not UTF-8 escaped, because ids and messages must be valid text."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
