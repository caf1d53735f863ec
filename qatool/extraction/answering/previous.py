"""Find answers of earlier runs by the fingerprint of question and context."""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from qatool.errors import InputError, reason_of
from qatool.extraction.answering.gather import blocks, gather
from qatool.files.formats.parquet import open_parquet
from qatool.files.storage.locations import is_there, matching
from qatool.files.storage.objects import ObjectPath
from qatool.files.storage.writefailures import reporting
from qatool.names import SUCCESS_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from qatool.files.storage.locations import Location


@dataclass(frozen=True)
class TakenAnswers:
    """The earlier answers to the examples of one shard; it travels with the shard."""

    rows: NDArray[np.int64]
    """``(n,)``: for each example the row of ``table`` that answers it, ``-1`` for none."""
    table: pa.Table
    """The answers, with the columns of :func:`qatool.extraction.answering.answers.pair_table`."""

    def rows_that_fit(self, contexts: Sequence[str | None]) -> NDArray[np.int64]:
        """Return :attr:`rows` without the answers that do not stand where they say, as in a file that was altered.

        :param contexts: of the ``n`` examples
        """
        answers, starts, ends = (self.table[name].to_pylist() for name in ("answer", "answer_start", "answer_end"))
        rows = self.rows.copy()
        for place in np.flatnonzero(rows >= 0).tolist():
            row = rows[place]
            if answers[row] is not None and (contexts[place] or "")[starts[row] : ends[row]] != answers[row]:
                rows[place] = -1
        return rows


BLOCK_BYTES = 64 << 20
"""Size of a block of the copy, and so of the memory used to make it. Where rows are in random order, a shard takes a
few rows of each block."""


class PreviousAnswers:
    """Rows of earlier parts or outputs; 24 bytes a row are held in memory.

    Where rows are asked for in the order of the files, each row group is read once. Once as many row groups have been
    read as would make two passes over the files, all rows are copied to a file with quick access to any row.

    :param paths: Parquet files with the columns of ``answers.parquet``; rejected rows in them are skipped
    :param spool: returns the path to write the copy to, ``None`` for the system's folder for temporary files
    :raises InputError: a file cannot be read
    """

    def __init__(self, paths: Sequence[Location], spool: Callable[[], Path | None] = lambda: None) -> None:
        self._paths = list(paths)
        self._spool = spool
        self._versions: list[tuple[Any, ...]] = []
        keys, places = [], []
        self._groups: list[tuple[int, int]] = []
        starts = [0]
        for number, path in enumerate(self._paths):
            try:
                self._versions.append(_version(path))
                with open_parquet(path) as file:
                    for group in range(file.num_row_groups):
                        table = file.read_row_group(group, columns=["fingerprint", "error"])
                        usable = table["error"].is_null().to_numpy() & table["fingerprint"].is_valid().to_numpy()
                        row = np.flatnonzero(usable)
                        keys.append(_keys(table["fingerprint"].combine_chunks().take(pa.array(row)).to_pylist()))
                        places.append(np.stack([np.full(len(row), len(self._groups)), row], axis=1))
                        self._groups.append((number, group))
                        starts.append(starts[-1] + table.num_rows)
            except (OSError, pa.ArrowException, KeyError, ValueError) as error:
                raise InputError(f"{path}: no answers can be taken from it ({reason_of(error)})") from error
        key = np.concatenate(keys) if keys else np.empty((0, 2), np.uint64)
        place = np.concatenate(places) if places else np.empty((0, 2), np.int64)
        order = np.lexsort((key[:, 1], key[:, 0]))
        # Two contiguous arrays: searchsorted would copy a column of a two-dimensional array at every call.
        self._head, self._tail = key[order, 0], key[order, 1]
        self._place = place[order].astype(np.int32)
        self._starts = np.array(starts)
        self._held: tuple[int, pa.Table] | None = None
        self._readings = 0
        self._copy: _Copy | None = None

    def __len__(self) -> int:
        return len(self._head)

    def taken(self, fingerprints: Sequence[bytes | None], columns: Sequence[str]) -> TakenAnswers | None:
        """Return the earlier answers to examples, ``None`` where none has one.

        :param fingerprints: the fingerprint of each of ``n`` examples, ``None`` for rejected ones
        :param columns: as in :meth:`take`
        :raises InputError: a file has changed since it was opened
        :raises OutputError: see :meth:`take`
        """
        found = self.find(fingerprints)
        known = np.flatnonzero(found >= 0)
        if not len(known):
            return None
        rows = np.full(len(found), -1, dtype=np.int64)
        rows[known] = np.arange(len(known))
        return TakenAnswers(rows, self.take(found[known], columns))

    def find(self, fingerprints: Sequence[bytes | None]) -> NDArray[np.int64]:
        """Return ``(n,)``: for each fingerprint the earlier row that answers it, ``-1`` for none."""
        found = np.full(len(fingerprints), -1, dtype=np.int64)
        known = [row for row, mark in enumerate(fingerprints) if mark is not None]
        if not len(self) or not known:
            return found
        wanted = _keys([mark for mark in fingerprints if mark is not None])
        at = np.minimum(np.searchsorted(self._head, wanted[:, 0]), len(self) - 1)
        same = (self._head[at] == wanted[:, 0]) & (self._tail[at] == wanted[:, 1])
        found[np.array(known)[same]] = at[same]
        return found

    def take(self, found: NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        """Return ``columns`` of the earlier rows ``found (n,)``, in that order; none of them may be ``-1``.

        :param columns: must be the same in every call
        :raises InputError: a file has changed since it was opened
        :raises OutputError: the copy cannot be written
        """
        group, row = self._place[found].T
        if self._copy is None and self._readings >= 2 * len(self._groups):
            self._held = None
            self._copy = _Copy((self._read(one, columns) for one in range(len(self._groups))), self._spool())
        if self._copy is not None:
            return self._copy.take(self._starts[group] + row)
        return gather(lambda one: self._kept(one, columns), group, row)

    def _kept(self, group: int, columns: Sequence[str]) -> pa.Table:
        """Return a row group, keeping the last one: rows of one group are usually asked for one after another."""
        if self._held is None or self._held[0] != group:
            self._held = None  # before another is read
            self._held = group, self._read(group, columns)
            self._readings += 1
        return self._held[1]

    def _read(self, group: int, columns: Sequence[str]) -> pa.Table:
        place, number = self._groups[group]
        path = self._paths[place]
        try:
            with open_parquet(path) as file:
                table = file.read_row_group(number, columns=list(columns)).select(list(columns))
            if _version(path) == self._versions[place]:
                return table
            why = "it was replaced"
        except KeyError as error:
            raise InputError(f"{path}: no answers can be taken from it ({reason_of(error)})") from error
        except (OSError, pa.ArrowException) as error:
            why = reason_of(error)
        raise InputError(
            f"{path}: has changed while answers were taken from it ({why}); start the same command again"
        )


class _Copy:
    """Tables in an uncompressed file, mapped into memory so that taking a few rows costs little.

    The file is unlinked as soon as it is mapped.

    :param path: where to write it, ``None`` for the system's folder for temporary files
    :raises OutputError: it cannot be written
    """

    def __init__(self, tables: Iterable[pa.Table], path: Path | None) -> None:
        begins = [0]
        with ExitStack() as stack:
            if path is None:
                path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qatool-"))) / "answers.arrow"
            stack.callback(path.unlink, missing_ok=True)
            with reporting(path), path.open("wb") as stream, ExitStack() as writing:
                writer = None
                for block in blocks(tables, rows=sys.maxsize, size=BLOCK_BYTES):
                    writer = writer or writing.enter_context(pa.ipc.new_file(stream, block.schema))
                    for batch in block.to_batches():
                        writer.write_batch(batch)
                        begins.append(begins[-1] + batch.num_rows)
            self._file = pa.ipc.open_file(pa.memory_map(str(path)))
        self._begins = np.array(begins)

    def take(self, rows: NDArray[np.int64]) -> pa.Table:
        """Return ``rows (n,)``, counted over all tables joined, in that order."""
        block = np.searchsorted(self._begins, rows, side="right") - 1
        return gather(self._block, block, rows - self._begins[block])

    def _block(self, number: int) -> pa.Table:
        return pa.Table.from_batches([self._file.get_batch(number)])


def _version(path: Location) -> tuple[Any, ...]:
    """Return a value that differs once another file has the name, or the file has changed.

    :raises OSError: the file cannot be looked up
    """
    if isinstance(path, ObjectPath):
        return (path.stat().version,)
    state = path.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns


def _keys(fingerprints: Sequence[bytes]) -> NDArray[np.uint64]:
    """Return 16-byte fingerprints as pairs of 64-bit integers ``(n, 2)``."""
    return np.frombuffer(b"".join(fingerprints), dtype=np.uint64).reshape(-1, 2)


class MadeBy(NamedTuple):
    """How the answers of an earlier output were made."""

    answer_fingerprint: str
    best_per: str | None
    """``question`` where the output holds only the best answers to each question, scored over all documents."""
    values: Mapping[str, Any]
    """The values behind the fingerprint, by name."""


def is_whole(path: Location) -> bool:
    """Return whether an earlier output exists and is complete.

    A folder must have its seal: in an object store, its parts may be half replaced.
    """
    return is_there(path) and (not path.is_dir() or (path / SUCCESS_NAME).is_file())


def made_by(path: Location) -> MadeBy:
    """Return how the answers in a Parquet file, or in a folder of them, were made.

    :raises InputError: the path does not exist, or was not written by ``qatool extract``
    """
    try:
        if path.is_dir():
            about = json.loads((path / SUCCESS_NAME).read_bytes())["qatool"]
        else:
            with open_parquet(path) as file:
                about = json.loads((file.schema_arrow.metadata or {}).get(b"qatool", b"null"))
        values = {**about["options"], "model": about["model"], "tokenizer": about["tokenizer"]}
        return MadeBy(str(about["answer_fingerprint"]), about.get("best_per"), values)
    except FileNotFoundError:
        if path.is_dir():
            raise InputError(f"--reuse {path}: {_NOT_OURS}") from None
        raise InputError(f"--reuse {path}: does not exist; name an earlier output") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, pa.ArrowException) as error:
        raise InputError(f"--reuse {path}: {_NOT_OURS}") from error


_NOT_OURS = "is no answers.parquet, nor a folder of answers, made by qatool; name an earlier output"


def parquet_files(path: Location) -> list[Location]:
    """Return the Parquet files of an earlier output."""
    return matching(path, "part-*.parquet") if path.is_dir() else [path]
