"""A folder of Parquet parts that appears whole: written aside, sealed with ``_SUCCESS``, then renamed.

A store knows no renaming of folders. There the seal alone says that the parts are whole: it goes before the first
part is written, and comes back last.
"""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Protocol

import pyarrow.parquet as pq

from qatool.files.output.targets import check_replaceable
from qatool.files.storage.atomic import replacing, sync_folder, temporary_name, write_json
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
    """Takes tables, each as a part."""

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
    """Begin a folder of parts, see :class:`PartFolder` and :class:`StorePartFolder`.

    :raises OutputError: it cannot be begun, or what stands under the name is not ours
    """
    if isinstance(path, ObjectPath):
        return StorePartFolder(path, metadata, confirm=confirm)
    return PartFolder(path, metadata, staging=staging, confirm=confirm)


class PartFolder:
    """Writes each table as ``part-00000.parquet``, ``part-00001.parquet``, … into a staging folder.

    :param confirm: called directly before the renames; what it raises keeps the folder from taking its name
    :raises OutputError: the staging folder cannot be made, or what stands under the name is not ours
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
        """Seal the folder and let it take its name.

        :raises OutputError: it cannot be sealed or renamed
        """
        try:
            write_json(self.staging / SUCCESS_NAME, _seal(self._metadata))
            publish(self.staging, self.path, confirm=self._confirm)
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove what was written; what stands under the final name stays."""
        shutil.rmtree(self.staging, ignore_errors=True)


class StorePartFolder:
    """Writes each table as ``part-00000.parquet``, … where it stays; whole once ``_SUCCESS`` is there.

    Until then ``_UNFINISHED`` says whose the parts are, so that the same command can take their place.

    :param confirm: called directly before each object is completed; what it raises keeps the folder from its seal
    :raises OutputError: the store refuses, or what stands under the name is not ours
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
        """Remove what an earlier output had more, and seal the folder.

        :raises OutputError: the store refuses
        """
        with reporting(self.path):
            own = {_part_name(part) for part in range(self._parts)} | {UNFINISHED_NAME}
            for left in list(self.path.iterdir()):
                if left.name not in own and _PART.fullmatch(left.name):
                    left.unlink(missing_ok=True)
            write_json(self.path / SUCCESS_NAME, _seal(self._metadata), confirm=self._confirm)
            (self.path / UNFINISHED_NAME).unlink(missing_ok=True)

    def discard(self) -> None:
        """Leave the folder unsealed: the same command goes on from its run folder."""


_PART = re.compile(r"part-[0-9]{5,}\.parquet")


FIVE_DIGITS = 90_000
"""So many parts have names of five digits; of those behind them the first digit is 9, and there are eight."""


def _part_name(part: int) -> str:
    """Return the name of a part; sorted as text, names are in order of the parts, however many there are."""
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
    """Rename a finished folder into place; an older one of its kind steps aside first and is then removed.

    :param holds: what is in it
    :raises OutputError: what stands there is not ours, or a rename fails (the older folder is then back)
    """
    check_replaceable(path, holds)
    with reporting(path):
        sync_folder(staging)
        if confirm is not None:
            confirm()
        old = temporary_name(path) if path.exists() else None
        if old is not None:
            path.rename(old)
        try:
            staging.rename(path)
        except BaseException:
            if old is not None:
                old.rename(path)
            raise
        sync_folder(path.parent)
    if old is not None and old.is_symlink():
        old.unlink(missing_ok=True)
    elif old is not None:
        shutil.rmtree(old, ignore_errors=True)
