"""Targets: where an output goes and in which format, parsed from what the user typed."""

from __future__ import annotations

import errno
import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, cast

from qatool.errors import OutputError, UsageError
from qatool.files.storage.atomic import is_device
from qatool.files.storage.locations import Location, location
from qatool.files.storage.objects import ObjectPath
from qatool.files.storage.stores import WEB
from qatool.files.storage.writefailures import reporting
from qatool.names import RUN_FOLDER_SUFFIX, SUCCESS_NAME, UNFINISHED_NAME

if TYPE_CHECKING:
    from qatool.files.sources.source import Compression

P = TypeVar("P", bound=Location)
Kind = Literal["parquet", "jsonl", "folder", "stdout"]

STDOUT = "-"
SUPPORTED = ".parquet, .jsonl or .ndjson (also with .gz or .zst behind), a folder, or - for standard output"

Holds = Literal["answers", "features", "model"]
"""The kind of output that a folder written by qatool holds."""


class _Own(NamedTuple):
    seals: tuple[str, ...]
    """JSON files that mark a folder as written by qatool, by a key ``qatool``."""
    names: re.Pattern[str]
    """Names of the files in such a folder; a seal may list more, under the key ``files``."""


_OWN: dict[Holds, _Own] = {
    "answers": _Own((SUCCESS_NAME, UNFINISHED_NAME), re.compile(r"part-[0-9]{5,}\.parquet|_SUCCESS|_UNFINISHED")),
    "features": _Own(
        ("manifest.json",),
        re.compile(
            r"(features|examples)-[0-9]{5,}-of-[0-9]{5,}\.parquet|(manifest|audit)\.json|rejects\.jsonl|README\.md"
        ),
    ),
    "model": _Own(
        ("qatool.json",),
        re.compile(
            r"config\.json|model(-[0-9]{5}-of-[0-9]{5})?\.safetensors|model\.safetensors\.index\.json|qatool\.json|"
            r"(special_|added_)?token[a-z_]*\.(json|model)|vocab\.(txt|json)|merges\.txt|spiece\.model|"
            r"metrics\.csv|curve\.svg|openvino_model\.(xml|bin)|README\.md"
        ),
    ),
}
_JSONL: dict[str, Compression | None] = {
    **dict.fromkeys((".jsonl", ".ndjson"), None),
    **dict.fromkeys((".jsonl.gz", ".ndjson.gz"), "gzip"),
    **dict.fromkeys((".jsonl.zst", ".ndjson.zst"), "zstd"),
}


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where answers go, and in which format."""

    kind: Kind
    path: Location
    """``-`` for standard output."""
    compression: Compression | None = None
    holds: Holds = "answers"
    """The kind of output, if it is a folder."""


def beside(output: P, suffix: str) -> P:
    """Return the path beside an output that has its name with a suffix appended."""
    return cast("P", output.with_name(output.name + suffix))


def run_folder(output: P) -> P:
    """Return the run folder of an extraction with this output."""
    return beside(output, RUN_FOLDER_SUFFIX)


def parse_target(output: str, *, label: str = "-o") -> Target:
    """Return the target that an option names; a name is that of a folder if it ends in a slash or has no suffix.

    A name with an unknown suffix is accepted if it is an existing folder.

    :param label: the option or argument, for messages
    :raises UsageError: the suffix names no format, or the URI names no place that can be written
    """
    path = location(output)
    if isinstance(path, ObjectPath) and (path.protocol in WEB or not path.name):
        what = "a web address can only be read" if path.protocol in WEB else "names a bucket, not what to put into it"
        raise UsageError(f"{label} {path}: {what}; write s3://bucket/answers.parquet, or a path")
    if output == STDOUT:
        return Target(kind="stdout", path=path)
    if output.endswith("/"):
        return Target(kind="folder", path=path)
    name = path.name.lower()
    if name.endswith(".parquet"):
        return Target(kind="parquet", path=path)
    for suffix, compression in _JSONL.items():
        if name.endswith(suffix):
            return Target(kind="jsonl", path=path, compression=compression)
    if not path.suffix or path.is_dir():
        return Target(kind="folder", path=path)
    raise UsageError(
        f"{label} {output}: its suffix says no format that can be written; supported are {SUPPORTED} "
        "(end the name of a folder with /)"
    )


def check_target(target: Target) -> None:
    """Check, before any work is done, that the target can be written.

    :raises UsageError: the path ends in ``..`` or has no name, so that nothing can be put beside it
    :raises OutputError: its folder is missing or read-only, or something is in its place that must not be replaced
    """
    if target.kind == "stdout":
        return
    path = target.path
    if path.name in {"", ".."}:
        raise UsageError(
            f"-o {path}: what stands beside an output has its name, and this is none; name a folder in it"
        )
    # An odd path (too long, a file for a folder) fails in the look-up already.
    with reporting(path):
        if isinstance(path, ObjectPath):
            _check_in_store(target, path)
            return
        if is_device(path):
            remedy = "use -o - for standard output, or name a file" if target.holds == "answers" else "name a folder"
            raise OutputError(f"{path}: is a device or a pipe, whose name no output can take; {remedy}")
        parent = path.parent
        if not parent.is_dir():
            raise OutputError(f"{path}: the folder {parent} does not exist; create it first")
        if not os.access(parent, os.W_OK | os.X_OK):
            raise OutputError(f"{path}: the folder {parent} cannot be written to; change its permissions")
        if target.kind == "folder":
            if path.is_mount():
                raise OutputError(f"{path}: is a mount point, which no folder can take the place of; name one in it")
            check_replaceable(path, target.holds)
        elif path.is_dir():
            raise OutputError(f"{path}: is a folder; remove it, or end the name with / to write into a folder")


def _check_in_store(target: Target, path: ObjectPath) -> None:
    # The permission to write shows as soon as the lock is taken.
    if not path.has_bucket():
        raise FileNotFoundError(errno.ENOENT, "no such bucket")
    if target.kind == "folder":
        check_replaceable(path)
    elif path.is_dir():
        raise OutputError(f"{path}: there are objects under it; remove them, or end the name with / to add a folder")


def check_replaceable(folder: Location, holds: Holds = "answers") -> None:
    """Check that nothing but an earlier output of the same kind would be lost by replacing a folder.

    :param holds: kind of output that is to be written
    :raises OutputError: the path is a file, or the folder holds another kind of output or something that qatool did
        not write
    """
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir():
        raise OutputError(f"{folder}: is a file, not a folder; remove it or choose another name")
    names = {entry.name for entry in folder.iterdir()}
    if not names:
        return
    kind = _kind_of(folder)
    names -= set() if kind is None else _listed(folder, kind)
    foreign = sorted(name for name in names if not any(own.names.fullmatch(name) for own in _OWN.values()))
    reason = f"holds {foreign[0]!a}, which qatool did not write" if foreign else "was not made by qatool"
    if not foreign and kind is not None:
        if kind == holds and all(map(_OWN[kind].names.fullmatch, names)):
            return
        reason = f"holds {_NOUN[kind]}, which this command does not write"
    raise OutputError(f"{folder}: is not empty and {reason}; empty it or choose another folder")


_NOUN: dict[Holds, str] = {"answers": "answers", "features": "features", "model": "a model"}


def is_sealed(folder: Location) -> bool:
    """Return whether qatool wrote a folder: completely or, in a store, at least in part."""
    return _kind_of(folder) is not None


def _kind_of(folder: Location) -> Holds | None:
    """Return the kind of output in a folder that qatool wrote, ``None`` for any other folder."""
    return next((kind for kind, own in _OWN.items() if any(_is_ours(folder / seal) for seal in own.seals)), None)


def _listed(folder: Location, kind: Holds) -> set[str]:
    """Return the files that the seals of a folder list; needed for models, whose tokenizers name some files."""
    listed = [_sealed(folder / seal).get("files") for seal in _OWN[kind].seals]
    return {name for names in listed if isinstance(names, list) for name in names if isinstance(name, str)}


def _is_ours(seal: Location) -> bool:
    return "qatool" in _sealed(seal)


def _sealed(seal: Location) -> dict[str, Any]:
    """Return the content of a seal, empty if there is none or it cannot be read."""
    try:
        found = json.loads(seal.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
