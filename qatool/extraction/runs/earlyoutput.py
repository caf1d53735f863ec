"""The output of an extraction, written while its parts are made: when the last is durable, little is left to do."""

from __future__ import annotations

import queue
import shutil
import threading
from typing import TYPE_CHECKING, Self

from qatool.errors import reason_of
from qatool.files.values.kept import conform, unify
from qatool.logs import log_event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pyarrow as pa

    from qatool.files.output.answers import AnswerWriter

POLL_S = 0.1
"""How often whoever waits for the end looks up."""
ROOM_BYTES = 1 << 30
"""Left for parts, which come first: with less on the disk the output is written in the end."""
_LEAVE_S = 2.0
"""How long leaving waits for the part that is being written."""


class EarlyOutput:
    """Writes parts into the output in a thread, each when it and all before it are durable; a context manager.

    What it writes is, to the byte, what would be written once all parts are there. Where that cannot be, or anything
    goes wrong, it is given up: whoever then writes it in the end meets, and tells, what is wrong.

    :param table: reads a part back
    :param begin: begins the output, with the schema of its tables
    :param folder: on the disk that parts and the output are written to
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
        """How many were written."""
        self._thread = threading.Thread(target=self._write, name="qatool-output", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_left = True
        self._done.put(None)
        self._thread.join(_LEAVE_S)
        if not self._thread.is_alive():  # else it is at a part, and gives up by itself
            self._give_up()

    def committed(self, index: int) -> None:
        """Take note of a part that is durable; they may come in any order."""
        self._done.put(index)

    def take(self, count: int, *, check: Callable[[], None]) -> AnswerWriter | None:
        """Wait until all parts are written; return the output, to be closed, or ``None`` where it was given up.

        :param count: of parts
        :param check: called often; may raise to stop
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
        except Exception as error:  # noqa: BLE001  (what it is will be met again, and told, in the end)
            unfit = reason_of(error)
        if unfit is not None:
            log_event("the output is written when all parts are there", routine=True, reason=unfit)
        if unfit is not None or self._is_left:
            self._give_up()

    def _write_parts(self) -> str | None:
        """Write the parts; return why not all can be written."""
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
        """Yield the parts that are durable, in their order, until all are there or it is left."""
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
