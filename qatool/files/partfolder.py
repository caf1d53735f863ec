"""A folder of Parquet parts that appears whole: written aside, sealed with ``_SUCCESS``, then renamed."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from qatool.files.atomic import replacing, reporting, sync_folder, temporary_name, write_json
from qatool.files.targets import SUCCESS_NAME, check_replaceable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import pyarrow as pa


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
        part = self.staging / f"part-{self._parts:05d}.parquet"
        with replacing(part) as stream:
            pq.write_table(
                table.replace_schema_metadata(self._metadata or None),
                stream,
                compression="zstd",
                use_dictionary=False,
                row_group_size=max(1, table.num_rows),
            )
        self._parts += 1

    def close(self) -> None:
        """Seal the folder and let it take its name.

        :raises OutputError: it cannot be sealed or renamed
        """
        try:
            write_json(self.staging / SUCCESS_NAME, {"qatool": json.loads(self._metadata.get(b"qatool", b"{}"))})
            publish(self.staging, self.path, confirm=self._confirm)
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove what was written; what stands under the final name stays."""
        shutil.rmtree(self.staging, ignore_errors=True)


def publish(staging: Path, path: Path, *, confirm: Callable[[], None] | None = None) -> None:
    """Rename a finished folder into place; an older one made by qatool steps aside first and is then removed.

    :raises OutputError: what stands there is not ours, or a rename fails (the older folder is then back)
    """
    check_replaceable(path)
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
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)
