"""Count repeated digests in bounded memory, by writing them to disk in buckets by their first byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qatool.files.storage.writefailures import reporting

if TYPE_CHECKING:
    from pathlib import Path

DIGEST_BYTES = 16
_HELD_BYTES = 1 << 20


class Duplicates:
    """Collects 16-byte digests, and counts those that occurred before.

    :param folder: an empty folder for temporary files, which the caller removes
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: list[bytes] = []
        self._size = 0

    def add(self, digests: bytes) -> None:
        """Add digests of ``DIGEST_BYTES`` each, concatenated.

        :raises OutputError: the disk is full
        """
        self._held.append(digests)
        self._size += len(digests)
        if self._size >= _HELD_BYTES:
            self._flush()

    def count(self) -> int:
        """Return how many digests repeat an earlier one; about 1/256 of all are in memory at a time."""
        self._flush()
        repeated = 0
        for path in sorted(self._folder.iterdir()):
            digests = np.fromfile(path, dtype=f"V{DIGEST_BYTES}")
            repeated += len(digests) - len(np.unique(digests))
        return repeated

    def _flush(self) -> None:
        if not self._size:
            return
        digests = np.frombuffer(b"".join(self._held), dtype=np.uint8).reshape(-1, DIGEST_BYTES)
        self._held, self._size = [], 0
        order = np.argsort(digests[:, 0], kind="stable")
        digests = digests[order]
        buckets, first = np.unique(digests[:, 0], return_index=True)
        for bucket, rows in zip(buckets.tolist(), np.split(digests, first[1:]), strict=True):
            path = self._folder / f"{bucket:02x}"
            with reporting(path), path.open("ab") as stream:
                stream.write(rows.tobytes())
