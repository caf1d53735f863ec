"""A folder of Parquet parts that appears whole: written under another name, sealed with ``_SUCCESS``, then renamed.

A store cannot rename folders. There, only the seal ``_SUCCESS`` says that the parts are complete: an earlier one is
removed before the first part is written, and the new one is written last.
"""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Protocol

import pyarrow.parquet as pq

from qatool.files.output.targets import check_replaceable
from qatool.files.storage.atomic import (
    on_one_disk,
    remove_path,
    replacing,
    sync_folder,
    temporary_name,
    write_json,
)
from qatool.files.storage.objects import ObjectPath
from qatool.files.storage.writefailures import reporting
from qatool.names import SUCCESS_NAME, UNFINISHED_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import pyarrow as pa

    from qatool.files.output.targets import Holds
    from qatool.files.storage.locations import Location


class Parts(Protocol):
    """Receives tables and writes each as a part."""

    def write(self, table: pa.Table) -> None:
        """Write the next part."""

    def close(self) -> None:
        """Seal the folder."""

    def discard(self) -> None:
        """Give up."""


def part_folder(
    path: Location,
    metadata: Mapping[bytes, bytes],
    *,
    staging: Path | None = None,
    confirm: Callable[[], None] | None = None,
) -> Parts:
    """Return a :class:`PartFolder` or, for a path in a store, a :class:`StorePartFolder`.

    :raises OutputError: the folder cannot be begun, or would replace something that qatool did not write
    """
    if isinstance(path, ObjectPath):
        return StorePartFolder(path, metadata, confirm=confirm)
    return PartFolder(path, metadata, staging=staging, confirm=confirm)


class PartFolder:
    """Writes each table as ``part-00000.parquet``, ``part-00001.parquet``, … into a staging folder.

    :param metadata: metadata of each part and of ``_SUCCESS``
    :param staging: the staging folder, to be created; default: a hidden name beside ``path``
    :param confirm: called directly before the renames; if it raises, they do not happen
    :raises OutputError: the staging folder cannot be created, or ``path`` holds something that qatool did not write
    """

    def __init__(
        self,
        path: Path,
        metadata: Mapping[bytes, bytes],
        *,
        staging: Path | None = None,
        confirm: Callable[[], None] | None = None,
    ) -> None:
        check_replaceable(path)
        self.path = path
        self.staging = staging or temporary_name(path)
        self._metadata = dict(metadata)
        self._confirm = confirm
        self._parts = 0
        with reporting(path):
            self.staging.mkdir()

    def write(self, table: pa.Table) -> None:
        """Write the next part.

        :raises OutputError: it cannot be written
        """
        _write_part(self.staging / _part_name(self._parts), table, self._metadata)
        self._parts += 1

    def close(self) -> None:
        """Seal the folder and give it its name.

        :raises OutputError: it cannot be sealed or renamed
        """
        try:
            write_json(self.staging / SUCCESS_NAME, _seal(self._metadata))
            publish(self.staging, self.path, confirm=self._confirm)
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove the staging folder; an earlier output stays."""
        shutil.rmtree(self.staging, ignore_errors=True)


class StorePartFolder:
    """Writes each table as ``part-00000.parquet``, … in its final place; the output is complete with ``_SUCCESS``.

    Until then, the object ``_UNFINISHED`` marks the parts as ours, so that the same command may replace them.

    :param metadata: metadata of each part and of ``_SUCCESS``
    :param confirm: called directly before each upload is completed; if it raises, the folder stays unsealed
    :raises OutputError: the store refuses access, or ``path`` holds something that qatool did not write
    """

    def __init__(
        self, path: ObjectPath, metadata: Mapping[bytes, bytes], *, confirm: Callable[[], None] | None = None
    ) -> None:
        self.path = path
        self._metadata = dict(metadata)
        self._confirm = confirm
        self._parts = 0
        with reporting(path):
            check_replaceable(path)
            write_json(path / UNFINISHED_NAME, _seal(self._metadata), confirm=confirm)
            (path / SUCCESS_NAME).unlink(missing_ok=True)

    def write(self, table: pa.Table) -> None:
        """Write the next part.

        :raises OutputError: it cannot be written
        """
        _write_part(self.path / _part_name(self._parts), table, self._metadata, confirm=self._confirm)
        self._parts += 1

    def close(self) -> None:
        """Remove the parts that only an earlier output had, and seal the folder.

        :raises OutputError: the store refuses access
        """
        with reporting(self.path):
            own = {_part_name(part) for part in range(self._parts)} | {UNFINISHED_NAME}
            for left in list(self.path.iterdir()):
                if left.name not in own and _PART.fullmatch(left.name):
                    left.unlink(missing_ok=True)
            write_json(self.path / SUCCESS_NAME, _seal(self._metadata), confirm=self._confirm)
            (self.path / UNFINISHED_NAME).unlink(missing_ok=True)

    def discard(self) -> None:
        """Leave the folder unsealed, for the same command to continue from its run folder."""


_PART = re.compile(r"part-[0-9]{5,}\.parquet")


FIVE_DIGITS = 90_000
"""How many parts have names of five digits. The names of later parts have eight, of which the first is 9."""


def _part_name(part: int) -> str:
    """Return the name of a part; the names of any number of parts, sorted as text, are in order of the parts."""
    return f"part-{part:05d}.parquet" if part < FIVE_DIGITS else f"part-9{part - FIVE_DIGITS:07d}.parquet"


def _seal(metadata: Mapping[bytes, bytes]) -> dict[str, object]:
    return {"qatool": json.loads(metadata.get(b"qatool", b"{}"))}


def _write_part(
    path: Location, table: pa.Table, metadata: dict[bytes, bytes], *, confirm: Callable[[], None] | None = None
) -> None:
    with replacing(path, confirm=confirm) as stream:
        pq.write_table(
            table.replace_schema_metadata(metadata or None),
            stream,
            compression="zstd",
            use_dictionary=False,
            row_group_size=max(1, table.num_rows),
        )


def publish(
    staging: Path, path: Path, *, holds: Holds = "answers", confirm: Callable[[], None] | None = None
) -> None:
    """Rename a finished folder to its final name; an earlier one of its kind is set aside first, and then removed.

    :param holds: kind of output that the folder holds
    :param confirm: called directly before the renames; if it raises, they do not happen
    :raises OutputError: ``path`` is something else than such a folder, or a rename fails, which is then undone
    """
    check_replaceable(path, holds)
    with reporting(path), on_one_disk(staging, path) as whole:
        sync_folder(whole)
        if confirm is not None:
            confirm()
        old = temporary_name(path) if path.exists() else None
        if old is not None:
            path.rename(old)
        try:
            whole.rename(path)
        except BaseException:
            if old is not None:
                old.rename(path)
            raise
        sync_folder(path.parent)
    if old is not None:
        remove_path(old)
