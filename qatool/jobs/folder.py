"""The run folder: parts on disk and the markers that say a part is whole.

A part is written to a temporary file, flushed, synced, renamed and read back; only then its marker is written the
same way. Whatever the moment a run is killed at, a marker never stands without its whole part.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from qatool.errors import EnvironmentUnfitError, InputError, OutputError, ResumeRefusedError, UsageError
from qatool.files.atomic import reporting, sync_folder, temporary_name, write_bytes
from qatool.files.kept import conform, unify
from qatool.files.paths import SPOOL_NAME
from qatool.jobs.lock import Lock
from qatool.jobs.seal import blake2b, sealed, unsealed
from qatool.logs import log_event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from qatool.jobs.work import Part, Unit


_WHOLE_NAME = 50
"""Longest name that a temporary name holds whole."""


@dataclass(frozen=True, kw_only=True)
class Marker:
    """What stands in ``done/`` for a whole part."""

    identity: str
    """Hash of what decided the part besides its input."""
    content_hash: str
    """Of the unit's input."""
    part_hash: str
    """BLAKE2b (hex) of the part's bytes."""
    counts: Mapping[str, int]
    rejects: Sequence[Mapping[str, Any]]
    seconds: float
    """Since the run was started, when the part was done."""


class RunFolder:
    """The folder ``<output>.qatool`` of a run; as a context manager, holds its lock.

    What runs that were killed left half written in it is removed on entering.

    :param path: made on entering when it is missing
    :raises OutputError: it cannot be made
    :raises LockedError: another live run holds it
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.identity = ""
        """Hash of what decides the output; parts of another identity are not ours. Set once it is known."""
        self.parts = path / "parts"
        self.done = path / "done"
        self.previous = path / "previous"
        self.lock = Lock(path / "lock")
        self._previous_parts: list[Path] | None = None

    def __enter__(self) -> Self:
        self.lock.__enter__()
        with reporting(self.path):
            self.parts.mkdir(exist_ok=True)
            self.done.mkdir(exist_ok=True)
            for folder in (self.path, self.parts, self.done, self.previous):
                for path in folder.glob(".*.tmp"):
                    # Not those of a lock: another run may be about to ask for ours.
                    if not path.name.startswith(".lock."):
                        _remove(path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What failed for its input or options before anything was done leaves nothing; what was stopped, its plan.
        refused = isinstance(error, InputError | UsageError | EnvironmentUnfitError) or not self.plan.exists()
        kept = [*self.done.glob("*.json"), *self.previous_parts()]
        if refused and not kept and not self.rejects.exists() and not (self.path / SPOOL_NAME).exists():
            self.remove()
        elif isinstance(error, ResumeRefusedError):
            with suppress(OSError):
                self.lock.disown()
        self.lock.__exit__(kind, error, trace)

    @property
    def plan(self) -> Path:
        """Where the plan stands."""
        return self.path / "plan.json"

    @property
    def rejects(self) -> Path:
        """Where the rejected rows are listed."""
        return self.path / "rejects.jsonl"

    @property
    def log(self) -> Path:
        """Where every event is logged."""
        return self.path / "log.jsonl"

    def start_over(self) -> None:
        """Forget all work done so far.

        :raises OutputError: it cannot be removed
        """
        self.lock.check()
        with reporting(self.path):
            self.plan.unlink(missing_ok=True)
            # Markers first: one must never stand without its part.
            for folder in (self.done, self.parts, self.previous):
                if folder.exists():
                    shutil.rmtree(folder)
            self.parts.mkdir()
            self.done.mkdir()

    def other_identity(self) -> bool:
        """Whether a finished part is of another identity than :attr:`identity`."""
        return any(
            marker.identity != self.identity
            for marker in map(read_marker, sorted(self.done.glob("*.json")))
            if marker is not None
        )

    def part(self, index: int) -> Path:
        """Return where part ``index`` stands."""
        return self.parts / f"part-{index:05d}.parquet"

    def marker(self, index: int) -> Path:
        """Return where the marker of part ``index`` stands."""
        return self.done / f"part-{index:05d}.json"

    def finished(self, unit: Unit, /) -> Marker | None:
        """Return the marker of the unit's part when that is whole and was made of the same input.

        At the first part made of other input, it and all later ones are set aside.
        """
        marker = read_marker(self.marker(unit.index))
        if marker is None or marker.identity != self.identity:
            return None
        if marker.content_hash != unit.content_hash:
            self._set_aside(unit.index)
            return None
        return marker if self._is_whole(unit.index, marker) else None

    def _is_whole(self, index: int, marker: Marker) -> bool:
        return _hash_of(self.part(index)) == marker.part_hash

    def commit(self, unit: Unit, part: Part, *, seconds: float) -> None:
        """Write a part and then its marker.

        The folders are not synced: a power cut may then take back the last names, which are missed on resume (a
        marker holds the hash of its part), and two waits for the disk a shard are saved.

        :param seconds: since the run was started
        :raises OutputError: the part cannot be written
        :raises LockedError: the folder is no longer ours
        """
        self.lock.check()
        sink = pa.BufferOutputStream()
        pq.write_table(part.table, sink, compression="zstd", row_group_size=max(1, part.table.num_rows))
        data = sink.getvalue().to_pybytes()
        path = self.part(unit.index)
        write_bytes(path, data, confirm=self.lock.check, sync_name=False)
        with reporting(path):
            try:
                found = pq.read_metadata(path).num_rows
            except pa.ArrowException:
                found = -1
            if found != part.table.num_rows:
                raise OutputError(f"{path}: does not hold what was written; check the disk")
        self.mark(unit, part, part_hash=blake2b(data), seconds=seconds)

    def mark(self, unit: Unit, part: Part, *, part_hash: str, seconds: float) -> None:
        """Write the marker of a part that is whole.

        :raises OutputError: the marker cannot be written
        :raises LockedError: the folder is no longer ours
        """
        marker = Marker(
            identity=self.identity,
            content_hash=unit.content_hash,
            part_hash=part_hash,
            counts=dict(part.counts),
            rejects=list(part.rejects),
            seconds=round(seconds, 3),
        )
        data = json.dumps(sealed(asdict(marker))).encode()
        write_bytes(self.marker(unit.index), data, confirm=self.lock.check, sync_name=False)

    def previous_parts(self) -> list[Path]:
        """Return the parts that were set aside and are still as they were written."""
        if self._previous_parts is None:
            whole = []
            for path in sorted(self.previous.glob("*.parquet")):
                marker = read_marker(path.with_suffix(".json"))
                if marker is None or marker.identity != self.identity or _hash_of(path) != marker.part_hash:
                    log_event("passing over a damaged part", level=logging.WARNING, part=str(path))
                else:
                    whole.append(path)
            self._previous_parts = whole
        return self._previous_parts

    def _set_aside(self, first: int) -> None:
        """Move the parts from ``first`` on to ``previous/``, where finished rows can be taken over from.

        Killed at any point, it leaves parts with markers (found again), parts without (done again) and parts in
        ``previous/``.
        """
        found = (path for path in self.parts.glob("part-*.parquet") if path.stem[5:].isdigit())
        stale = sorted(path for path in found if _index(path) >= first)
        log_event("input changed: finished rows are taken over", shard=first, parts=len(stale))
        self._previous_parts = None
        with reporting(self.previous):
            self.previous.mkdir(exist_ok=True)
            generation = 1 + max((int(path.name[:5]) for path in self.previous.glob("*.parquet")), default=-1)
            for path in stale:
                self.lock.check()
                aside = self.previous / f"{generation:05d}-{path.name}"
                marker = self.marker(_index(path))
                if marker.exists():
                    marker.rename(aside.with_suffix(".json"))
                    path.rename(aside)
                else:
                    path.unlink()
            sync_folder(self.previous)
            sync_folder(self.done)

    def markers(self, indices: Iterable[int]) -> Iterator[Marker]:
        """Yield the markers of parts.

        :raises OutputError: one has vanished or is broken
        """
        for index in indices:
            marker = read_marker(self.marker(index))
            if marker is None:
                raise OutputError(f"{self.marker(index)}: has vanished; start the same command again")
            yield marker

    def schema(self, count: int) -> pa.Schema:
        """Return the schema that all of the first ``count`` parts can take.

        :raises OutputError: a part has vanished or is broken
        """
        schemas: list[pa.Schema] = []
        for index in range(count):
            with self._reading(index):
                schema = pq.read_schema(self.part(index))
            if schema not in schemas:
                schemas.append(schema)
        return unify(schemas)

    def tables(self, count: int, schema: pa.Schema) -> Iterator[pa.Table]:
        """Yield the tables of the first ``count`` parts, cast to ``schema``.

        :raises OutputError: a part has vanished or is broken
        """
        for index, marker in enumerate(self.markers(range(count))):
            with self._reading(index):
                data = self.part(index).read_bytes()
                if blake2b(data) != marker.part_hash:
                    raise OSError("its bytes are not those written")
                table = pq.read_table(pa.BufferReader(data), use_threads=False, pre_buffer=False)
            yield conform(table, schema)

    @contextmanager
    def _reading(self, index: int) -> Iterator[None]:
        """Turn what can go wrong while a part is read back into an error that says what to do."""
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise OutputError(
                f"{self.part(index)}: was damaged while the run was under way ({str(error).splitlines()[0]}); "
                "start the same command again: it is computed anew"
            ) from error

    def remove(self) -> None:
        """Remove the whole folder; that it stays behind would harm nobody.

        It steps aside first, all at once: a run that is just starting must not find half of it.
        """
        if not self.lock.is_ours():
            return
        gone = temporary_name(self.path)
        with suppress(OSError):
            self.path.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)


def sweep(*paths: Path) -> None:
    """Remove what runs that were killed left beside ``paths`` under temporary names; only under the lock."""
    for path in paths:
        if len(path.name) > _WHOLE_NAME:
            continue  # the temporary name holds a part of it only, and may be another file's
        pattern = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.tmp")
        for left in path.parent.glob(".*.tmp"):
            if pattern.fullmatch(left.name):
                _remove(left)


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def read_marker(path: Path) -> Marker | None:
    """Return the marker at ``path``; ``None`` when there is none or it is not as it was written."""
    try:
        return Marker(**unsealed(json.loads(path.read_bytes())))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _hash_of(path: Path) -> str | None:
    """Return the hash of a file, ``None`` when it cannot be read."""
    try:
        return blake2b(path.read_bytes())
    except OSError:
        return None


def _index(part: Path) -> int:
    return int(part.stem.rpartition("-")[2])
