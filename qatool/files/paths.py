"""From what the user typed to the files that are read: folders, globs, standard input."""

from __future__ import annotations

import glob
import os
import shutil
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from qatool.errors import InputError
from qatool.files.atomic import replacing
from qatool.files.rows import printable
from qatool.logs import log_event

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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

STDIN = "-"
SPOOL_NAME = "stdin.jsonl"


@dataclass(frozen=True, kw_only=True)
class Source:
    """One input file."""

    path: Path
    name: str
    """For ids and messages: the file's name, or its path below the folder or the fixed part of the glob."""
    format: Format
    compression: Compression | None = None


def resolve(inputs: Sequence[str], *, stdin_spool: Path | None = None) -> list[Source]:
    """Return the files that the inputs name, in the order given; a file named twice is there twice.

    Names are unique unless a file is named twice: files that would share a name go by their path as given.

    :param inputs: files, folders, globs (``**`` reaches into subfolders) or ``-``
    :param stdin_spool: existing folder that takes a copy of standard input, so that it can be read again
    :raises InputError: an input is missing, holds nothing that can be read or has an unknown suffix;
        one line an input
    :raises OutputError: the copy of standard input cannot be written
    """
    sources: list[Source] = []
    problems: list[str] = []
    for text in inputs:
        try:
            sources += [_spooled(stdin_spool)] if text == STDIN else _resolve_one(text)
        except InputError as error:
            problems += error.lines()
    if problems:
        raise InputError(*problems)
    return _told_apart(sources)


def spool_stdin(folder: Path) -> Source:
    """Copy standard input to ``stdin.jsonl`` in the folder, which must exist, and return it as a JSONL file.

    An earlier copy, which is always whole, serves again when nothing comes: standard input is closed, a terminal
    or empty.

    :raises InputError: standard input is closed, and there is no earlier copy
    :raises OutputError: the copy cannot be written
    """
    path = folder / SPOOL_NAME
    source = Source(path=path, name="<stdin>", format="jsonl")
    closed = sys.stdin is None or sys.stdin.closed
    if path.exists():
        first = b"" if closed or sys.stdin.isatty() else sys.stdin.buffer.read(1 << 20)
        if not first:
            log_event("nothing on standard input: going on with what an earlier start read from it")
            return source
    elif closed:
        raise InputError("standard input: is closed; pipe JSONL into it or name a file instead of -")
    else:
        first = b""
    with replacing(path) as stream:
        stream.write(first)
        shutil.copyfileobj(sys.stdin.buffer, stream, 1 << 20)
    return source


def source_of(path: Path, name: str) -> Source:
    """Return the source at ``path``, its format told from the suffix in upper or lower case.

    :raises InputError: the suffix is not a supported one
    """
    source = _source_or_none(path, name)
    if source is None:
        raise InputError(f"{path}: its suffix says no format that can be read; supported are {SUPPORTED}")
    return source


def _spooled(folder: Path | None) -> Source:
    if folder is None:
        raise InputError("-: standard input cannot be read here; name a file")
    return spool_stdin(folder)


def _resolve_one(text: str) -> list[Source]:
    path = Path(text)
    try:
        if path.is_dir():
            return _in_folder(path)
        # What exists literally wins, so that a file whose name holds brackets can be named.
        if path.exists():
            if not path.is_file():
                raise InputError(f"{printable(text)}: is no regular file and could be read only once; pipe it into -")
            return [source_of(path, path.name)]
    except (OSError, ValueError) as error:
        raise InputError(f"{printable(text)}: cannot be looked up ({error}); check the path") from None
    if glob.has_magic(text):
        return _in_glob(text)
    raise InputError(f"{printable(text)}: no such file or folder; check the path")


def _in_folder(folder: Path) -> list[Source]:
    found = sorted(_walk(folder), key=lambda path: path.relative_to(folder).as_posix())
    sources = [_source_or_none(path, path.relative_to(folder).as_posix()) for path in found]
    kept = [source for source in sources if source is not None]
    if not kept:
        raise InputError(f"{folder}: holds no file that can be read; supported are {SUPPORTED}")
    return kept


def _walk(folder: Path) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot be listed ({error.strerror}); check its permissions")

    for parent, folders, names in os.walk(folder, onerror=unreadable):
        # A run folder holds what a run needs to go on, not what anyone would ask.
        folders[:] = [name for name in folders if not name.startswith((".", "_")) and not name.endswith(".qatool")]
        yield from (Path(parent, name) for name in names if not name.startswith((".", "_")))


def _in_glob(pattern: str) -> list[Source]:
    # glob and not Path.glob: it also takes absolute patterns and leaves hidden files out.
    found = sorted(Path(match) for match in glob.glob(pattern, recursive=True))  # noqa: PTH207
    files = [path for path in found if path.is_file()]
    if not files:
        raise InputError(f"{pattern}: no file matches; check the pattern (** reaches into subfolders)")
    root = _fixed_part(pattern)
    sources = [_source_or_none(path, path.relative_to(root).as_posix()) for path in files]
    kept = [source for source in sources if source is not None]
    if not kept:
        raise InputError(f"{pattern}: matches no file that can be read; supported are {SUPPORTED}")
    return kept


def _fixed_part(pattern: str) -> Path:
    """Return the folders of the pattern that stand before its first wildcard."""
    fixed: list[str] = []
    for part in Path(pattern).parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return Path(*fixed)


def _source_or_none(path: Path, name: str) -> Source | None:
    stem, last = os.path.splitext(path.name.lower())  # noqa: PTH122 (".csv" alone is a hidden file, not a suffix)
    compression = COMPRESSIONS.get(last)
    suffix = last if compression is None else os.path.splitext(stem)[1]  # noqa: PTH122
    kind = FORMATS.get(suffix)
    if kind is None or (kind == "parquet" and compression is not None):
        return None
    return Source(path=path, name=_valid_text(name), format=kind, compression=compression)


def _told_apart(sources: list[Source]) -> list[Source]:
    """Return the sources with the path as given for a name where different files share one."""
    shared = Counter(source.name for source in {source.path: source for source in sources}.values())
    return [
        replace(source, name=_valid_text(source.path.as_posix()))
        if shared[source.name] > 1 and source.name != "<stdin>"
        else source
        for source in sources
    ]


def _valid_text(name: str) -> str:
    """Return the name with bytes that are not UTF-8 escaped: ids and messages must be valid text."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
