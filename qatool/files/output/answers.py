"""Writers of answers, table by table, to any target; a file or folder appears whole, on close."""

from __future__ import annotations

import base64
import gzip
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, Protocol, Self, cast

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from qatool.errors import OutputError
from qatool.files.output.partfolder import part_folder
from qatool.files.storage.atomic import whole_file
from qatool.files.storage.writefailures import reporting
from qatool.files.values.jsonlines import encode_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

    from qatool.files.output.targets import Target
    from qatool.files.storage.atomic import AtomicFile
    from qatool.files.storage.uploads import ObjectFile

GROUP_ROWS, GROUP_BYTES = 16_384, 16 << 20
"""Size at which collected tables are written as a row group of a file, or as a part of a folder.

Without collecting, a folder would have a file for every table, and a file too many row groups: their metadata stay in
memory until the file is closed, a gigabyte for ten million rows with a row group for every 512.
"""
REPEATING = ("question", "document_id", "question_id")
"""Columns with a dictionary in Parquet; values of the others hardly repeat, so that it would only cost memory."""


class _Sink(Protocol):
    """Receives the tables and writes them in one format."""

    def write(self, table: pa.Table) -> None: ...

    def close(self) -> None: ...

    def discard(self) -> None: ...


class AnswerWriter:
    """Writes tables of one schema; as a context manager, closes at the end or, after an exception, discards.

    Created by :func:`open_writer`.
    """

    def __init__(self, sink: _Sink, schema: pa.Schema) -> None:
        self._sink = sink
        self._schema = schema

    def write(self, table: pa.Table) -> None:
        """Write a table; in Parquet and folders, tables are collected into larger row groups or parts.

        :raises OutputError: the disk is full, or the reader of standard output has gone
        :raises ValueError: the table has another schema
        """
        if not table.schema.equals(self._schema):
            raise ValueError(f"table of another schema: {table.schema} is not {self._schema}")
        self._sink.write(table)

    def close(self) -> None:
        """Finish the output, and give it its name, replacing an earlier output.

        :raises OutputError: the output cannot be finished or take its name
        """
        self._sink.close()

    def discard(self) -> None:
        """Give up: an earlier output stays; lines already on standard output cannot be taken back."""
        self._sink.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


def open_writer(
    target: Target,
    schema: pa.Schema,
    metadata: Callable[[], Mapping[bytes, bytes]],
    *,
    staging: Path | None = None,
    confirm: Callable[[], None] | None = None,
) -> AnswerWriter:
    """Return a writer to the target.

    :param schema: schema of every table, see :func:`qatool.schema.answers_schema`
    :param metadata: returns the metadata for Parquet files and for the ``_SUCCESS`` file of a folder; called when a
        file is closed, but before a folder is begun, because each of its parts contains them
    :param staging: where to write before that, on the same file system; default: a hidden name beside the output
    :param confirm: called directly before the output takes its name; if it raises, the output does not
    :raises OutputError: the output cannot be begun
    """
    sink: _Sink
    if target.kind == "stdout":
        sink = _StdoutSink()
    elif target.kind == "folder":
        sink = _Collected(part_folder(target.path, metadata(), staging=staging, confirm=confirm))
    elif target.kind == "jsonl":
        sink = _JsonlSink(whole_file(target.path, staging=staging, confirm=confirm), target.compression)
    else:
        sink = _Collected(_ParquetSink(whole_file(target.path, staging=staging, confirm=confirm), schema, metadata))
    return AnswerWriter(sink, schema)


def _parquet_writer(stream: BinaryIO, schema: pa.Schema) -> pq.ParquetWriter:
    """Return a writer whose bytes depend on the tables, the schema and the metadata only.

    :param stream: stays open when the writer closes
    """
    return pq.ParquetWriter(
        stream,
        schema.remove_metadata(),
        compression="zstd",
        use_dictionary=[name for name in REPEATING if name in schema.names],
        write_statistics=True,
    )


def _describe(writer: pq.ParquetWriter, schema: pa.Schema, about: Mapping[bytes, bytes]) -> None:
    """Add metadata to a file before it is closed, as if it had been begun with them.

    Arrow reads a schema's metadata from the copy of the schema that it stores in the file, so that has them, too.
    """
    described = schema.with_metadata(dict(about))
    texts = {name.decode(): value.decode() for name, value in about.items()}
    copy = base64.b64encode(described.serialize()).decode()
    writer.add_key_value_metadata({**texts, "ARROW:schema": copy})


class _Collected:
    """Collects tables, and passes them on as one larger table."""

    def __init__(self, sink: _Sink) -> None:
        self._sink = sink
        self._pending: list[pa.Table] = []
        self._rows = self._bytes = 0

    def write(self, table: pa.Table) -> None:
        self._pending.append(table)
        self._rows += table.num_rows
        self._bytes += table.nbytes
        if self._rows >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._hand_on()

    def _hand_on(self) -> None:
        group, self._pending = pa.concat_tables(self._pending), []
        self._rows = self._bytes = 0
        self._sink.write(group)

    def close(self) -> None:
        try:
            if self._pending:
                self._hand_on()
        except BaseException:
            self.discard()
            raise
        self._sink.close()

    def discard(self) -> None:
        self._sink.discard()


class _ParquetSink:
    def __init__(
        self, file: AtomicFile | ObjectFile, schema: pa.Schema, metadata: Callable[[], Mapping[bytes, bytes]]
    ) -> None:
        self._file, self._schema, self._metadata = file, schema, metadata
        try:
            self._writer = _parquet_writer(file.stream, schema)
        except BaseException:
            file.discard()
            raise

    def write(self, table: pa.Table) -> None:
        with reporting(self._file.path):
            self._writer.write_table(table, row_group_size=max(1, table.num_rows))

    def close(self) -> None:
        try:
            with reporting(self._file.path):
                _describe(self._writer, self._schema, self._metadata())
                self._writer.close()
        except BaseException:
            self.discard()
            raise
        self._file.commit()

    def discard(self) -> None:
        # A writer left open would write its footer when it is garbage-collected.
        with suppress(OSError, ValueError, pa.ArrowException):
            self._writer.close()
        self._file.discard()


class _JsonlSink:
    def __init__(self, file: AtomicFile | ObjectFile, compression: str | None) -> None:
        self._file = file
        self._packer: BinaryIO | None = None
        if compression == "gzip":
            # Without file name and time, so that equal answers give equal bytes.
            packer = gzip.GzipFile(filename="", mode="wb", fileobj=file.stream, mtime=0)
            self._packer = cast("BinaryIO", packer)
        elif compression == "zstd":
            compressor = zstandard.ZstdCompressor(write_checksum=True)
            self._packer = cast("BinaryIO", compressor.stream_writer(file.stream, closefd=False))

    def write(self, table: pa.Table) -> None:
        with reporting(self._file.path):
            (self._packer or self._file.stream).write(encode_lines(table))

    def close(self) -> None:
        try:
            with reporting(self._file.path):
                if self._packer is not None:
                    self._packer.close()
        except BaseException:
            self.discard()
            raise
        self._file.commit()

    def discard(self) -> None:
        if self._packer is not None:
            with suppress(OSError, ValueError, zstandard.ZstdError):
                self._packer.close()
        self._file.discard()


class _StdoutSink:
    """Writes JSON Lines to standard output, flushed after each table so that a reader sees them at once."""

    def write(self, table: pa.Table) -> None:
        if sys.stdout is None:
            raise OutputError("standard output: is closed; name a file with -o")
        with reporting("standard output"):
            sys.stdout.buffer.write(encode_lines(table))
            sys.stdout.buffer.flush()

    def close(self) -> None:
        pass

    def discard(self) -> None:
        pass
