"""The parts of a run, and markers that say which of them are complete.

A part is written to a temporary file, flushed, synced, renamed and read back; only then is its marker written in the
same way. No matter when a run is killed, there is never a marker without its complete part.
"""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from qatool.errors import OutputError, reason_of
from qatool.files.formats.parquet import open_parquet
from qatool.files.storage.atomic import move, sync_folder, write_bytes
from qatool.files.storage.locations import Location, matching, remove_tree
from qatool.files.storage.objects import ObjectPath
from qatool.files.storage.writefailures import reporting
from qatool.files.values.kept import conform, unify
from qatool.jobs.runfolder.leftovers import sweep_folder
from qatool.jobs.runfolder.markers import Marker, read_marker, read_markers
from qatool.jobs.runfolder.partstate import hash_of, read_back, version_of
from qatool.jobs.runfolder.seal import blake2b, sealed
from qatool.logs import log_event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from qatool.jobs.work import Part, Unit

MARKERS_AT_ONCE = 256
"""Markers that are requested together from a store."""


class Parts:
    """The parts of a run, each with a marker; parts of other input are set aside, to take finished rows over from.

    :param path: the run folder
    :param check: called before anything is changed; raises if the folder is no longer ours
    """

    def __init__(self, path: Location, *, check: Callable[[], None]) -> None:
        self.folder = path / "parts"
        self.done = path / "done"
        self.previous = path / "previous"
        self.identity = ""
        """Hash of everything that decides the output, set once known; parts of another identity are not used."""
        self._check = check
        self._previous_parts: list[Location] | None = None
        self._known: dict[int, Marker | None] = {}

    def begin(self) -> None:
        """Make the folders that are missing, and remove files that killed runs left half written.

        :raises OSError: a folder cannot be made
        """
        self.folder.mkdir(exist_ok=True)
        self.done.mkdir(exist_ok=True)
        for folder in (self.folder, self.done, self.previous):
            sweep_folder(folder)

    def clear(self) -> None:
        """Remove all parts, markers first: there must never be one without its part.

        :raises OSError: something cannot be removed
        """
        for folder in (self.done, self.folder, self.previous):
            if folder.exists():
                remove_tree(folder)
        self.folder.mkdir()
        self.done.mkdir()
        self._known.clear()
        self._previous_parts = None

    def are_any(self) -> bool:
        """Return whether a later start can use any part.

        :raises OutputError: a store does not answer, or refuses the request
        """
        return bool(matching(self.done, "*.json")) or bool(self.previous_parts())

    def other_identity(self) -> bool:
        """Return whether any finished part has another identity than :attr:`identity`."""
        return any(
            marker.identity != self.identity
            for marker in read_markers(self._there(self.done, "*.json"))
            if marker is not None
        )

    def _there(self, folder: Location, pattern: str) -> list[Location]:
        """Return the entries of a folder that match a pattern.

        :raises OutputError: a store does not answer, or refuses the request
        """
        with reporting(folder):
            return matching(folder, pattern)

    def part(self, index: int) -> Location:
        """Return the path of part ``index``."""
        return self.folder / f"part-{index:05d}.parquet"

    def marker(self, index: int) -> Location:
        """Return the path of the marker of part ``index``."""
        return self.done / f"part-{index:05d}.json"

    def finished(self, unit: Unit, /) -> Marker | None:
        """Return the marker of a unit's part if the part is complete and was made from the same input, else ``None``.

        When a part turns out to be made from other input, it and all later parts are set aside.
        """
        marker = self._marker_of(unit.index)
        if marker is None or marker.identity != self.identity:
            return None
        if marker.content_hash != unit.content_hash:
            self._set_aside(unit.index)
            return None
        if self._is_whole(unit.index, marker):
            return marker
        log_event("a part is gone or damaged, and is computed again", level=logging.WARNING, part=unit.index)
        return None

    def is_done(self, unit: Unit) -> bool:
        """Return whether an earlier start has done a unit, judging by its marker alone; changes nothing."""
        marker = self._marker_of(unit.index)
        return marker is not None and (marker.identity, marker.content_hash) == (self.identity, unit.content_hash)

    def _marker_of(self, index: int) -> Marker | None:
        """Return the marker of a part; from a store, many are requested at once, as each request takes time."""
        if not isinstance(self.folder, ObjectPath):
            return read_marker(self.marker(index))
        if index not in self._known:
            following = range(index, index + MARKERS_AT_ONCE)
            self._known = dict(zip(following, read_markers([self.marker(one) for one in following]), strict=True))
        return self._known.pop(index)

    def _is_whole(self, index: int, marker: Marker) -> bool:
        part = self.part(index)
        # An object is either complete or absent, and any change gives it another version.
        if marker.part_version and isinstance(part, ObjectPath):
            return version_of(part) == marker.part_version
        return hash_of(part) == marker.part_hash

    def commit(self, unit: Unit, part: Part) -> None:
        """Write a part and then its marker.

        The folders are not synced, which saves two waits for the disk per shard. A power cut may then undo the last
        renames; a resumed run notices that, as a marker holds the hash of its part.

        :raises OutputError: the part cannot be written
        :raises LockedError: the folder is no longer ours
        """
        self._check()
        sink = pa.BufferOutputStream()
        pq.write_table(part.table, sink, compression="zstd", row_group_size=max(1, part.table.num_rows))
        data = sink.getvalue().to_pybytes()
        path = self.part(unit.index)
        write_bytes(path, data, confirm=self._check, sync_name=False)
        version = read_back(path, rows=part.table.num_rows, size=len(data))
        self._mark(unit, part, part_hash=blake2b(data), part_version=version)

    def _mark(self, unit: Unit, part: Part, *, part_hash: str, part_version: str = "") -> None:
        """Write the marker of a part that is complete.

        :param part_hash: see :attr:`Marker.part_hash`
        :param part_version: see :attr:`Marker.part_version`
        :raises OutputError: the marker cannot be written
        :raises LockedError: the folder is no longer ours
        """
        marker = Marker(
            identity=self.identity,
            content_hash=unit.content_hash,
            part_hash=part_hash,
            part_version=part_version,
            counts=dict(part.counts),
            rejects=list(part.rejects),
        )
        body = {name: value for name, value in asdict(marker).items() if value or name != "part_version"}
        # Nobody reads the seconds; earlier versions take a marker without them for damaged.
        data = json.dumps(sealed({**body, "seconds": 0.0})).encode()
        write_bytes(self.marker(unit.index), data, confirm=self._check, sync_name=False)

    def previous_parts(self) -> list[Location]:
        """Return the parts that were set aside, except those that are damaged or have another identity."""
        if self._previous_parts is None:
            self._previous_parts = []
            for path in self._there(self.previous, "*.parquet"):
                if self._is_ours(path, path.with_suffix(".json")):
                    self._previous_parts.append(path)
                else:
                    log_event("passing over a damaged part", level=logging.WARNING, part=str(path))
        return self._previous_parts

    def finished_parts(self) -> list[Location]:
        """Return the parts of earlier starts that are not set aside, except damaged ones; changes nothing.

        In a store, where all of them would be fetched to be looked at, none.
        """
        if isinstance(self.folder, ObjectPath):
            return []
        found = self._there(self.folder, "part-*.parquet")
        return [path for path in found if self._is_ours(path, self.done / f"{path.stem}.json")]

    def _is_ours(self, part: Location, marker_path: Location) -> bool:
        """Return whether a part is as its marker says, and of our identity."""
        marker = read_marker(marker_path)
        return marker is not None and marker.identity == self.identity and hash_of(part) == marker.part_hash

    def _set_aside(self, first: int) -> None:
        """Move the parts from ``first`` on to ``previous/``, so that their finished rows can be taken over.

        If the run is killed at any point in between, every part still has its marker (and is found again), has none
        (and is computed again), or is in ``previous/``.
        """
        found = (path for path in matching(self.folder, "part-*.parquet") if path.stem[5:].isdigit())
        stale = [path for path in found if _index(path) >= first]
        log_event("shards have other rows than before: finished rows are taken over", shard=first, parts=len(stale))
        self._previous_parts = None
        self._known.clear()
        with reporting(self.previous):
            self.previous.mkdir(exist_ok=True)
            generation = 1 + max((int(path.name[:5]) for path in matching(self.previous, "*.parquet")), default=-1)
            for path in stale:
                self._check()
                aside = self.previous / f"{generation:05d}-{path.name}"
                marker = self.marker(_index(path))
                if marker.exists():
                    move(marker, aside.with_suffix(".json"))
                    move(path, aside)
                else:
                    path.unlink()
            sync_folder(self.previous)
            sync_folder(self.done)

    def markers(self, indices: Iterable[int]) -> Iterator[Marker]:
        """Yield the markers of parts.

        :raises OutputError: a marker has vanished or is broken
        """
        ordered = list(indices)
        for index, marker in zip(ordered, read_markers([self.marker(index) for index in ordered]), strict=True):
            if marker is None:
                raise OutputError(f"{self.marker(index)}: has vanished; start the same command again")
            yield marker

    def schema(self, count: int) -> pa.Schema:
        """Return a schema that all of the first ``count`` parts can be cast to.

        :raises OutputError: a part has vanished or is broken
        """
        schemas: list[pa.Schema] = []
        for index in range(count):
            with self._reading(index), open_parquet(self.part(index)) as part:
                schema = part.schema_arrow
            if schema not in schemas:
                schemas.append(schema)
        return unify(schemas)

    def tables(self, count: int, schema: pa.Schema) -> Iterator[pa.Table]:
        """Yield the tables of the first ``count`` parts, cast to ``schema``.

        :raises OutputError: a part has vanished or is broken
        """
        for index, marker in enumerate(self.markers(range(count))):
            yield conform(self._table(index, marker), schema)

    def table(self, index: int) -> pa.Table:
        """Return the table of a part.

        :raises OutputError: the part has vanished or is broken
        """
        return self._table(index, next(self.markers([index])))

    def _table(self, index: int, marker: Marker) -> pa.Table:
        with self._reading(index):
            data = self.part(index).read_bytes()
            if blake2b(data) != marker.part_hash:
                raise OSError("its bytes are not those written")
            return pq.read_table(pa.BufferReader(data), use_threads=False, pre_buffer=False)

    @contextmanager
    def _reading(self, index: int) -> Iterator[None]:
        """Turn errors while a part is read back into an :class:`OutputError` that says what to do."""
        try:
            yield
        except MemoryError:
            raise
        except (OSError, pa.ArrowException) as error:
            raise OutputError(
                f"{self.part(index)}: was damaged while the run was under way ({reason_of(error)}); "
                "start the same command again: it is computed anew"
            ) from error

    def forget_previous(self) -> None:
        """Remove the parts that were set aside, as far as possible."""
        with suppress(OSError):
            remove_tree(self.previous)
        self._previous_parts = None


def _index(part: Location) -> int:
    return int(part.stem.rpartition("-")[2])
