"""Let the model read windows in batches of similar length, sized by a token budget and split when memory runs out.

On a CPU, several batches are read at once, each on one thread: a small batch keeps a core busy, while one batch
spread over all cores would make them wait for each other at every operation.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from qatool.models.backend import BatchTooLargeError
from qatool.spans.search import SpanTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from qatool.models.backend import Backend
    from qatool.spans.characters import ContextCharacters
    from qatool.spans.search import SpanSearch
    from qatool.windows.assemble import WindowedExamples


_KNOWN_BACKENDS: set[str] = set()
"""Names of the backends that have read a batch in this process."""


class _Read(NamedTuple):
    """The spans found in windows that were read together."""

    windows: NDArray[np.int64]
    spans: SpanTable


@dataclass(frozen=True)
class LaunchedWindows:
    """Windows that are being read or, with a single stream, will be read when they are collected."""

    parts: Iterator[list[_Read]]


class WindowReader:
    """Runs a backend over windows and keeps the best spans of each.

    Windows are read in the order in which they are launched, by threads where the backend has several streams. No
    stream ever idles: the next shard is begun while the last batches of this one are read and the previous one is
    decided.

    :param batch_tokens: most tokens in a batch, padding included
    """

    def __init__(self, *, backend: Backend, search: SpanSearch, batch_tokens: int) -> None:
        self._backend, self._search, self._batch_tokens = backend, search, batch_tokens
        self._pool: ThreadPoolExecutor | None = None
        self._threads_before = 1
        self._is_closed = False

    def close(self) -> None:
        """Drop the batches that are launched but not read yet; with several streams, nothing more can be launched."""
        self._is_closed = True
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
            torch.set_num_threads(self._threads_before)

    def read(
        self,
        examples: WindowedExamples,
        characters: ContextCharacters | None,
        tick: Callable[[int], None] = lambda _: None,
    ) -> tuple[SpanTable, NDArray[np.intp]]:
        """Read all windows of ``examples``; see :meth:`launch` and :meth:`collect`."""
        return self.collect(self.launch(examples, characters), tick)

    def launch(self, examples: WindowedExamples, characters: ContextCharacters | None) -> LaunchedWindows:
        """Begin to read all windows of ``examples``; with a single stream, reading starts when they are collected.

        :param characters: groups of tokens to search as one, or ``None``
        """
        order = np.argsort(examples.lengths, kind="stable")
        read = partial(self._read, examples, characters=characters)
        batches = self._batches(order, examples.lengths[order])
        return LaunchedWindows(map(read, batches) if self._backend.streams == 1 else self._submitted(read, batches))

    def collect(
        self, launched: LaunchedWindows, tick: Callable[[int], None] = lambda _: None
    ) -> tuple[SpanTable, NDArray[np.intp]]:
        """Wait until all windows that were launched together are read.

        :param tick: called after every batch with the number of windows read
        :returns: the spans found, in order of the windows, and the windows ``(f,)`` that failed: those too large for
            the device even alone, and those for which the model returned scores that are not numbers
        """
        tables, read = [], []
        for part in chain.from_iterable(launched.parts):
            tables.append(part.spans)
            read.append(part.windows)
            tick(len(part.windows))
        if not tables:
            return SpanTable.missing(0), np.empty(0, dtype=np.intp)
        spans = SpanTable.joined(tables, np.concatenate(read))
        return spans, spans.unread()

    def _submitted(
        self, read: Callable[[NDArray[np.int64]], list[_Read]], batches: Iterator[NDArray[np.int64]]
    ) -> Iterator[list[_Read]]:
        """Have threads read batches; return the results of each batch, in the order of the batches.

        The first batch that a backend reads in a process is read alone, to avoid a deadlock. Libraries set themselves
        up at their first use and let other Python code run meanwhile: a second thread at the same place would hold
        the interpreter and wait for the first thread, which waits for the interpreter.
        """
        pool = self._opened()
        pending: deque[Future[list[_Read]]] = deque()
        if self._backend.name not in _KNOWN_BACKENDS:
            pending.extend(pool.submit(read, batch) for batch in islice(batches, 1))
            wait(pending)
            _KNOWN_BACKENDS.update(self._backend.name for future in pending if future.exception() is None)
        pending.extend(pool.submit(read, batch) for batch in batches)
        return (pending.popleft().result() for _ in range(len(pending)))

    def _opened(self) -> ThreadPoolExecutor:
        """Return the pool of threads; PyTorch is set to one thread for each of them before they start.

        :raises RuntimeError: the reader was closed
        """
        if self._is_closed:
            raise RuntimeError("what reads windows was closed")
        if self._pool is None:
            self._threads_before = torch.get_num_threads()
            torch.set_num_threads(1)
            self._pool = ThreadPoolExecutor(self._backend.streams, thread_name_prefix="qatool-stream")
        return self._pool

    def _read(
        self, examples: WindowedExamples, batch: NDArray[np.int64], *, characters: ContextCharacters | None
    ) -> list[_Read]:
        """Read a batch, in parts where memory does not suffice for the whole batch."""
        pending, found = [batch], []
        while pending:
            chosen = pending.pop()
            try:
                spans = self._spans(examples, chosen, characters)
            except BatchTooLargeError:
                if len(chosen) > 1:
                    middle = len(chosen) // 2
                    pending += [chosen[middle:], chosen[:middle]]
                    continue
                spans = SpanTable.missing(1)
            found.append(_Read(chosen, spans))
        return found

    def _batches(self, order: NDArray[np.int64], lengths: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """Cut windows, sorted by length, into runs of at most ``batch_tokens`` tokens, padding included."""
        first = 0
        while first < len(order):
            padded = lengths[first:] * np.arange(1, len(order) - first + 1)
            size = max(1, int(np.searchsorted(padded, self._batch_tokens, side="right")))
            yield order[first : first + size]
            first += size

    def _spans(
        self, examples: WindowedExamples, chosen: NDArray[np.int64], characters: ContextCharacters | None
    ) -> SpanTable:
        batch = examples.assemble(chosen)
        start_logits, end_logits = self._backend.logits(batch)
        groups = None if characters is None else characters.of_windows(examples, chosen)
        return self._search(start_logits, end_logits, batch, groups)
