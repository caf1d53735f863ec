"""Exclude a command's own output from its input, as an input folder may hold the output of an earlier run.

Outputs of other runs are refused: they have no contexts, and what is not named as an output is not passed over.
Only files that qatool wrote are excluded, judging by their beginning. Any other file that is both input and output
was named as an output by mistake, which is an error.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from functools import cache
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from qatool.errors import InputError, QatoolError, UsageError
from qatool.files.formats.parquet import open_parquet
from qatool.files.sources.paths import resolve
from qatool.files.sources.rows import ANSWER_KEYS, IN_THE_WAY, printable
from qatool.files.sources.streams import open_bytes, reading
from qatool.logs import log_event
from qatool.names import REJECTS_SUFFIX, SUMMARY_SUFFIX
from qatool.places import entry_of, is_uri, places_of, same_place

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qatool.files.sources.source import Source

_LONGEST_LINE = 1 << 24
_LOG_LINE = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (DEBUG|INFO|WARNING|ERROR|CRITICAL) ")
_SUMMARY = re.compile(rb'\{\s*("version": "[^"]*",\s*"exit_code": \d|"examples": \d+,\s*"rejected": \d)')
"""Beginning of the summary of a run or of a dry run."""
_REJECT_KEYS = frozenset({"row", "id", "where", "reason"})
"""All keys of a rejected row: one with others, such as a question, is somebody's own."""
_ROW_KEYS = (ANSWER_KEYS, frozenset({"time", "level", "event"}))
"""Keys by which a JSON row of answers and of a log are recognised."""


def without_own(
    sources: Sequence[Source], given: Sequence[str], *, written: Iterable[str], log_file: str | None
) -> list[Source]:
    """Return the sources without those that the command itself writes, or wrote in an earlier run.

    :param given: the inputs as the user named them, for messages
    :param written: files and folders that the command writes
    :param log_file: log to which the command appends
    :raises InputError: no source is left, or one was written by another run
    :raises UsageError: a source would be overwritten and was not written by qatool
    """
    own = {PurePath(entry_of(name)) for name in written}
    # A log is appended to, so that a link to it stays: its target counts, too.
    own |= {PurePath(place) for place in places_of(log_file)} if log_file else set()
    real_folder = cache(os.path.realpath)  # many files have a folder in common

    def is_own(source: Source) -> bool:
        places = [PurePath(place) for place in places_of(str(source.path), real_folder=real_folder)]
        if not own.isdisjoint(places):
            _check_made(source)
            return True
        # For folders, that is checked when they are replaced.
        return any(not own.isdisjoint(place.parents) for place in places)

    # The copy of standard input lies in the run folder, yet is input.
    kept = [source for source in sources if source.is_stdin or not is_own(source)]
    if len(kept) < len(sources):
        log_event("not read: what this command itself writes", files=len(sources) - len(kept))
    if not kept:
        raise InputError(f"{', '.join(given)}: holds nothing but what this command writes; add input files")
    _check_no_others(kept)
    return kept


def _check_no_others(sources: Sequence[Source]) -> None:
    """Check that no source is a summary or a list of rejected rows, by which the output of another run is known.

    Answers that stand alone show when they are read: they may have been given contexts since.

    :raises InputError: one is; if the answers are a source, too, these are named instead
    """
    suspects = [source for source in sources if source.path.name.endswith((SUMMARY_SUFFIX, REJECTS_SUFFIX))]
    read = {str(place) for source in (sources if suspects else ()) for place in (source.path, source.path.parent)}
    problems: dict[str, None] = {}
    for source in suspects:
        path = str(source.path)
        for suffix, what, is_written in (
            (SUMMARY_SUFFIX, "is the summary of an earlier run", _is_summary),
            (REJECTS_SUFFIX, "lists the rejected rows of an earlier run", _is_reject_list),
        ):
            if not path.endswith(suffix) or not is_written(_head(source)):
                continue
            answers = path.removesuffix(suffix)
            told = f"{answers}: holds the answers of an earlier run" if answers in read else f"{path}: {what}"
            problems[f"{printable(told)}; {IN_THE_WAY}"] = None
    if problems:
        raise InputError(*problems)


def check_log_file(log_file: str, inputs: Sequence[str]) -> None:
    """Check, before the log is opened for appending, that the file is not an input.

    :param inputs: the inputs as the user named them
    :raises UsageError: the file is an input, and not a log of qatool
    """
    path = Path(log_file)
    # A new log, or one that qatool began, needs no comparison with the inputs.
    try:
        if is_uri(log_file) or not path.is_file() or not path.stat().st_size:
            return
    except OSError:
        return  # Opening the log will report this.
    # A log that may be written but not read is compared with the inputs.
    with suppress(OSError), path.open("rb") as stream:
        if _is_made(stream.readline(_LONGEST_LINE)):
            return
    for text in inputs:
        if text == "-" or is_uri(text):
            continue
        try:
            sources = resolve([text])
        except QatoolError:
            continue  # The command will report this.
        if any(same_place(str(source.path), log_file) for source in sources):
            raise _not_ours(log_file)


def _check_made(source: Source) -> None:
    """Check that qatool wrote a file that is to be overwritten.

    :raises UsageError: it did not
    """
    if not source.path.stat().st_size:
        return  # Nothing would be lost.
    if source.format == "parquet":
        with reading(source), open_parquet(source.path) as file:
            made = b"qatool" in (file.schema_arrow.metadata or {})
    else:
        head = _head(source)
        made = not head[0] or _is_made(head[0]) or _is_summary(head)
    if not made:
        raise _not_ours(str(source.path))


def _head(source: Source) -> tuple[bytes, bytes]:
    """Return the first line of a file, and the beginning of what follows."""
    with open_bytes(source) as stream:
        return stream.readline(_LONGEST_LINE), stream.readline(99) + stream.readline(99)


def _is_summary(head: tuple[bytes, bytes]) -> bool:
    return bool(_SUMMARY.match(b"".join(head)))


def _is_reject_list(head: tuple[bytes, bytes]) -> bool:
    return _keys(head[0]) == _REJECT_KEYS


def _is_made(line: bytes) -> bool:
    """Return whether a file's first line is one that qatool writes."""
    line = line.lstrip(b"\xef\xbb\xbf\0")
    found = _keys(line)
    return bool(_LOG_LINE.match(line)) or found == _REJECT_KEYS or any(keys <= found for keys in _ROW_KEYS)


def _keys(line: bytes) -> frozenset[str]:
    """Return the keys of the object on a line; none for anything else."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return frozenset()
    return frozenset(row) if isinstance(row, dict) else frozenset()


def _not_ours(path: str) -> UsageError:
    return UsageError(
        f"{path}: is one of the inputs and would be written to, though qatool did not make it; give -o, --summary or "
        "--log-file another name"
    )
