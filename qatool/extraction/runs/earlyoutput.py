"""Write the output of an extraction while its parts are made, so that little is left to do after the last part."""

from __future__ import annotations

import queue
import shutil
import threading
from typing import TYPE_CHECKING, Self

from qatool.errors import reason_of
from qatool.files.values.kept import conform, unify
from qatool.jobs.prefetch import LEFT_BEHIND
from qatool.logs import log_event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pyarrow as pa

    from qatool.files.output.answers import AnswerWriter

POLL_S = 0.1
"""How often :meth:`EarlyOutput.take` calls ``check`` while it waits."""
ROOM_BYTES = 1 << 30
"""Disk space reserved for parts, which come first: with less free space, the output is written in the end."""
_LEAVE_S = 2.0
"""How long leaving the context waits for the part that is being written."""


class EarlyOutput:
    """A context manager whose thread writes each part into the output once it and all parts before it are durable.

    The output is the same, to the byte, as when it is written from all parts in the end. Where that cannot be
    guaranteed, or anything goes wrong, the early output is given up. The output is then written in the end, and a
    lasting problem is met again and reported there.

    :param table: reads the part of a given index back
    :param begin: opens the output for tables of a given schema
    :param folder: a folder on the disk that parts and the output are written to
    """

    def __init__(
        self, table: Callable[[int], pa.Table], begin: Callable[[pa.Schema], AnswerWriter], *, folder: Path
    ) -> None:
        self._table, self._begin, self._folder = table, begin, folder
        self._done: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._writer: AnswerWriter | None = None
        self._written = 0
        self._is_left = False
        self.rows = 0
        """Rows written so far."""
        self._thread = threading.Thread(target=self._write, name=LEFT_BEHIND, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_left = True
        self._done.put(None)
        self._thread.join(_LEAVE_S)
        if not self._thread.is_alive():  # else it is still writing a part, and will give up by itself
            self._give_up()

    def committed(self, index: int) -> None:
        """Queue a part that has become durable; parts may come in any order."""
        self._done.put(index)

    def take(self, count: int, *, check: Callable[[], None]) -> AnswerWriter | None:
        """Wait until all parts are written.

        :param count: the number of parts
        :param check: called often; may raise to stop
        :returns: the writer of the output, which the caller closes, or ``None`` where the output was given up
        """
        self._done.put(None)
        while self._thread.is_alive():
            check()
            self._thread.join(POLL_S)
        if self._written != count:
            self._give_up()
        writer, self._writer = self._writer, None
        return writer

    def _write(self) -> None:
        try:
            unfit = self._write_parts()
        except Exception as error:  # noqa: BLE001  (a lasting problem is met again in the end, and reported then)
            unfit = reason_of(error)
        if unfit is not None:
            log_event("the output is written when all parts are there", routine=True, reason=unfit)
        if unfit is not None or self._is_left:
            self._give_up()

    def _write_parts(self) -> str | None:
        """Write the parts; return in words why not all can be written, ``None`` where nothing prevents it."""
        schemas: list[pa.Schema] = []
        for index in self._in_order():
            if shutil.disk_usage(self._folder).free < ROOM_BYTES:
                return "there is little room on the disk"
            table = self._table(index)
            if self._is_left:
                break
            if table.schema not in schemas:
                schemas.append(table.schema)
            schema = unify(schemas)
            if self._writer is None:
                self._writer, begun = self._begin(schema), schema
            if schema != begun:
                return "a kept column has wider types than in earlier parts"
            self._writer.write(conform(table, schema))
            self._written += 1
            self.rows += table.num_rows
        return None

    def _in_order(self) -> Iterator[int]:
        """Yield the indices of durable parts in ascending order, until there are no more or the context is left."""
        waiting: set[int] = set()
        following = 0
        while (index := self._done.get()) is not None and not self._is_left:
            waiting.add(index)
            while following in waiting and not self._is_left:
                waiting.remove(following)
                yield following
                following += 1

    def _give_up(self) -> None:
        if self._writer is not None:
            self._writer.discard()
            self._writer = None
