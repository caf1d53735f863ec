"""Resolve what the user typed (files, folders, globs, URIs, standard input) to the files that are read."""

from __future__ import annotations

import glob
import logging
import os
import stat
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from qatool.errors import InputError
from qatool.files.sources.partitions import typed
from qatool.files.sources.rows import printable, quoted
from qatool.files.sources.source import SUPPORTED, Source, source_of, source_or_none, valid_text
from qatool.files.sources.stdin import STDIN, spool_stdin
from qatool.files.storage.locations import Location, location
from qatool.files.storage.objects import ObjectPath
from qatool.files.storage.objectstat import ObjectStat
from qatool.files.storage.patterns import key_pattern
from qatool.files.storage.stores import WEB, no_access
from qatool.logs import log_event
from qatool.names import RUN_FOLDER_SUFFIX, UNFINISHED_NAME
from qatool.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_KINDS_NAMED = 3
"""How many suffixes of skipped files a log line names."""


def resolve(inputs: Sequence[str], *, stdin_spool: Location | None = None) -> list[Source]:
    """Return the files that the inputs name, in the order given; a file that is named twice is returned twice.

    The ``name`` of each source is unique, except for a file that is named twice: different files that would share a
    name get their path as given as the name.

    :param inputs: files, folders, globs (``**`` reaches into subfolders), URIs of any of these, or ``-``
    :param stdin_spool: existing folder for a copy of standard input, so that it can be read again; ``None`` where
        ``-`` is not accepted
    :raises InputError: an input is missing, holds nothing that can be read or has an unknown suffix; the message has
        one line for each such input
    :raises UsageError: a URI holds credentials, or names no bucket or no known store
    :raises EnvironmentUnfitError: the library for a store is not installed
    :raises OutputError: the copy of standard input cannot be written
    """
    sources: list[Source] = []
    problems: list[str] = []
    for text in inputs:
        try:
            sources += (
                [_spooled(stdin_spool)] if text == STDIN else _resolve_one(text, takes_stdin=stdin_spool is not None)
            )
        except InputError as error:
            problems += error.lines()
    if problems:
        raise InputError(*problems)
    for path, times in Counter(source.path for source in sources).items():
        if times > 1:
            log_event(f"{path}: is named {times} times, and its rows come as often", level=logging.WARNING)
    sources = _told_apart(sources)
    partitions = typed({source.partitions for source in sources})
    return [replace(source, partitions=partitions[source.partitions]) for source in sources]


def _spooled(folder: Location | None) -> Source:
    if folder is None:
        raise InputError("-: standard input cannot be read here; name a file")
    return spool_stdin(folder)


def _resolve_one(text: str, *, takes_stdin: bool) -> list[Source]:
    path = location(text)
    if isinstance(path, ObjectPath):
        return _in_store(path)
    try:
        if path.is_dir():
            return _in_folder(path)
        # A path that exists literally comes before its reading as a glob, so that names with brackets can be given.
        if path.exists():
            if not path.is_file():
                instead = "pipe it into -" if takes_stdin else "write it to a file and name that"
                raise InputError(f"{printable(text)}: is no regular file and could be read only once; {instead}")
            return [source_of(path, path.name)]
    except (OSError, ValueError) as error:
        raise InputError(f"{printable(text)}: cannot be looked up ({error}); check the path") from None
    if glob.has_magic(text):
        return _in_glob(str(path))
    raise InputError(f"{printable(text)}: no such file or folder; check the path")


def _in_folder(folder: Path) -> list[Source]:
    found = sorted(_walk(folder), key=lambda path: path.relative_to(folder).as_posix())
    sources = [source_or_none(path, path.relative_to(folder).as_posix()) for path in found]
    kept = [source for source in sources if source is not None]
    for path in (source.path for source in kept):
        if _is_pipe(path):
            raise InputError(
                f"{printable(str(path))}: is no regular file and could be read only once; take it out of the folder"
            )
    if not kept:
        raise InputError(f"{folder}: holds no file that can be read; supported are {SUPPORTED}")
    others = Counter(path.suffix.lower() for path, source in zip(found, sources, strict=True) if source is None)
    if others:
        kinds = ", ".join(quoted(suffix)[1:-1] or "no suffix" for suffix, _ in others.most_common(_KINDS_NAMED))
        more = ", …" if len(others) > _KINDS_NAMED else ""
        log_event(f"{folder}: {counted(others.total(), 'file')} of other kinds passed over ({kinds}{more})")
    return kept


def _in_store(path: ObjectPath) -> list[Source]:
    """Return the object, the objects under the prefix, or those that match the pattern."""
    try:
        # As on a disk, a key that exists literally comes before its reading as a pattern.
        if path.name and path.is_file():
            return [source_of(path, path.name, path.stat())]
        if path.protocol not in WEB and not path.has_bucket():
            raise InputError(f"{path}: no such bucket; check the URI, and the endpoint that is asked")
        sources = [source_or_none(*found) for found in _listed(path)]
    except PermissionError as error:
        raise InputError(f"{path}: {no_access(error)}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be looked up ({error.strerror or error}); check the URI") from None
    kept = [source for source in sources if source is not None]
    if not sources:
        raise InputError(f"{path}: no such object, and nothing under it; check the URI")
    if not kept:
        raise InputError(f"{path}: holds no object that can be read; supported are {SUPPORTED}")
    return kept


def _listed(path: ObjectPath) -> Iterator[tuple[ObjectPath, str, ObjectStat]]:
    """Yield (path, name below the folder, stat) of each object under a prefix or matching a pattern."""
    folder = path
    pattern = None
    if glob.has_magic(path.key) and not path.is_dir():
        folder = next(parent for parent in path.parents if not glob.has_magic(parent.key))
        pattern = key_pattern(path.key)
    for found, told in () if path.protocol in WEB else folder.walk():
        if found == folder / UNFINISHED_NAME:
            raise InputError(f"{found.parent}: is being written, or was left unfinished; start that command again")
        below = found.relative_to(folder)
        wanted = pattern.fullmatch(found.key) if pattern is not None else not any(map(_is_hidden, below.parts))
        if wanted and not any(map(_is_run_folder, below.parts)):
            yield found, below.as_posix(), told


def _walk(folder: Path) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot be listed ({error.strerror}); check its permissions")

    # Links to folders are followed, except those that lead back to a folder on their own path: they add no files.
    for parent, folders, names in os.walk(folder, onerror=unreadable, followlinks=True):
        folders[:] = [
            name
            for name in folders
            if not _is_hidden(name)
            and not _is_run_folder(name)
            and not ((path := Path(parent, name)).is_symlink() and _comes_back(path, folder))
        ]
        yield from (Path(parent, name) for name in names if not _is_hidden(name))


def _comes_back(folder: Path, root: Path) -> bool:
    """Return whether a link on the path from ``root`` to a folder leads back to an earlier folder of that path."""
    passed: set[str] = set()
    ways = [way for way in (folder, *folder.parents) if way == root or root in way.parents]
    if not any(way.is_symlink() for way in ways):
        return False
    for way in ways:
        real = os.path.realpath(way)
        if real in passed:
            return True
        passed.add(real)
    return False


def _is_pipe(path: Location) -> bool:
    """Return whether a local path is something other than a regular file; a missing path is reported on opening."""
    with suppress(OSError):
        return isinstance(path, Path) and not stat.S_ISREG(path.stat().st_mode)
    return False


def _is_hidden(name: str) -> bool:
    """Return whether a file or folder is skipped when its folder is read; a glob may still name it."""
    return name.startswith((".", "_"))


def _is_run_folder(name: str) -> bool:
    """Return whether a folder is the run folder of an extraction, which is never input, not even of a glob."""
    return name.endswith(RUN_FOLDER_SUFFIX)


def _in_glob(pattern: str) -> list[Source]:
    # glob.glob rather than Path.glob: it accepts absolute patterns and skips hidden files.
    # A set, because a pattern with two ** finds the same file more than once.
    found = sorted({Path(match) for match in glob.glob(pattern, recursive=True)})  # noqa: PTH207
    root = _fixed_part(pattern)
    below = ((path, path.relative_to(root)) for path in found if path.is_file())
    comes_back = cache(lambda folder: _comes_back(folder, root))
    files = [
        (path, name)
        for path, name in below
        if not any(map(_is_run_folder, name.parts)) and not comes_back(path.parent)
    ]
    if not files:
        raise InputError(f"{pattern}: no file matches; check the pattern (** reaches into subfolders)")
    folders = [path for path in found if path.is_dir()]
    if folders and "**" not in pattern:
        log_event(
            f"{pattern}: matches {counted(len(folders), 'folder')} too, such as {folders[0]}, which are passed over "
            "(** reaches into subfolders)",
            level=logging.WARNING,
        )
    sources = [source_or_none(path, name.as_posix()) for path, name in files]
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


def _told_apart(sources: list[Source]) -> list[Source]:
    """Return the sources, with the path as given (or, if still shared, absolute) in place of any shared name."""
    for absolute in (False, True):
        shared = Counter(source.name for source in {source.path: source for source in sources}.values())
        sources = [
            replace(source, name=valid_text(_given(source.path, absolute=absolute)))
            if shared[source.name] > 1 and not source.is_stdin
            else source
            for source in sources
        ]
    return sources


def _given(path: Location, *, absolute: bool) -> str:
    return (path.absolute() if absolute and isinstance(path, Path) else path).as_posix()
