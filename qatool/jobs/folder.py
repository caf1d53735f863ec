"""The run folder: parts on disk and the markers that say a part is whole.

A part is written to a temporary file, flushed, synced, renamed and read back; only then its marker is written the
same way. Whatever the moment a run is killed at, a marker never stands without its whole part.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from qatool.errors import OutputError
from qatool.files.atomic import reporting, write_bytes
from qatool.files.kept import conform, unify
from qatool.jobs.lock import Lock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from qatool.jobs.work import Part, Unit


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

    :param path: made when it is missing
    :raises OutputError: it cannot be made
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.identity = ""
        """Hash of what decides the output; parts of another identity are not ours. Set once it is known."""
        self.parts = path / "parts"
        self.done = path / "done"
        self.previous = path / "previous"
        self.lock = Lock(path / "lock")
        with reporting(path):
            self.parts.mkdir(parents=True, exist_ok=True)
            self.done.mkdir(exist_ok=True)

    def __enter__(self) -> Self:
        self.lock.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not any(self.done.glob("*")) and not self.plan.exists():
            self.remove()
        self.lock.__exit__(kind, error, trace)

    @property
    def plan(self) -> Path:
        """Where the plan stands."""
        return self.path / "plan.json"

    def start_over(self) -> None:
        """Forget all work done so far.

        :raises OutputError: it cannot be removed
        """
        with reporting(self.path):
            self.plan.unlink(missing_ok=True)
            for folder in (self.done, self.parts, self.previous):
                if folder.exists():
                    shutil.rmtree(folder)
            self.parts.mkdir()
            self.done.mkdir()

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
        try:
            return _hash(self.part(index).read_bytes()) == marker.part_hash
        except OSError:
            return False

    def commit(self, unit: Unit, part: Part, *, seconds: float) -> None:
        """Write a part and then its marker.

        :param seconds: since the run was started
        :raises OutputError: the part cannot be written
        :raises LockedError: the folder is no longer ours
        """
        sink = pa.BufferOutputStream()
        pq.write_table(part.table, sink, compression="zstd", row_group_size=max(1, part.table.num_rows))
        data = sink.getvalue().to_pybytes()
        path = self.part(unit.index)
        write_bytes(path, data)
        with reporting(path):
            if pq.read_metadata(path).num_rows != part.table.num_rows:
                raise OutputError(f"{path}: does not hold what was written; check the disk")
        self.mark(unit, part, part_hash=_hash(data), seconds=seconds)

    def mark(self, unit: Unit, part: Part, *, part_hash: str, seconds: float) -> None:
        """Write the marker of a part that is whole.

        :raises OutputError: the marker cannot be written
        :raises LockedError: the folder is no longer ours
        """
        self.lock.check()
        body = {
            "identity": self.identity,
            "content_hash": unit.content_hash,
            "part_hash": part_hash,
            "counts": dict(part.counts),
            "rejects": list(part.rejects),
            "seconds": round(seconds, 3),
        }
        sealed = {"seal": _hash(_canonical(body)), **body}
        write_bytes(self.marker(unit.index), json.dumps(sealed).encode())

    def previous_parts(self) -> list[Path]:
        """Return the parts that were set aside."""
        return sorted(self.previous.glob("*.parquet"))

    def _set_aside(self, first: int) -> None:
        """Move the parts from ``first`` on to ``previous/``, where finished rows can be taken over from."""
        stale = [path for path in self.parts.glob("part-*.parquet") if _index(path) >= first]
        if not stale:
            return
        with reporting(self.previous):
            self.previous.mkdir(exist_ok=True)
            generation = len(list(self.previous.iterdir()))
            for path in sorted(stale):
                marker = read_marker(self.marker(_index(path)))
                self.marker(_index(path)).unlink(missing_ok=True)
                ours = marker is not None and marker.identity == self.identity
                if marker is not None and ours and self._is_whole(_index(path), marker):
                    path.rename(self.previous / f"{generation:05d}-{path.name}")
                else:
                    path.unlink()

    def markers(self, count: int) -> Iterator[Marker]:
        """Yield the markers of the first ``count`` parts.

        :raises OutputError: one has vanished or is broken
        """
        for index in range(count):
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
        for index in range(count):
            with self._reading(index):
                table = pq.read_table(self.part(index))
            yield conform(table, schema)

    def _reading(self, index: int) -> _Reading:
        return _Reading(self.part(index))

    def remove(self) -> None:
        """Remove the whole folder; that it stays behind would harm nobody."""
        shutil.rmtree(self.path, ignore_errors=True)


class _Reading:
    """Turns what can go wrong while a part is read back into an error that says what to do."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError | pa.ArrowException):
            raise OutputError(
                f"{self._path}: was damaged while the run was under way ({str(error).splitlines()[0]}); "
                "start the same command again: it is computed anew"
            ) from error


def read_marker(path: Path) -> Marker | None:
    """Return the marker at ``path``; ``None`` when there is none or it is not as it was written."""
    try:
        body = json.loads(path.read_bytes())
        seal = body.pop("seal")
        return Marker(**body) if seal == _hash(_canonical(body)) else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _canonical(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True).encode()


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _index(part: Path) -> int:
    return int(part.stem.rpartition("-")[2])
