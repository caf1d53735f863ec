"""Let the model read windows: batches of like length, sized by a token budget, split when memory runs out.

On a CPU several batches are read at once, each on one thread: small batches keep a core busy, while one batch shared
out over the cores makes them wait for each other at every operation.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from qatool.models.backend import BatchTooLargeError
from qatool.spans.search import SpanTable

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from numpy.typing import NDArray

    from qatool.models.backend import Backend
    from qatool.spans.characters import ContextCharacters
    from qatool.spans.search import SpanSearch
    from qatool.windows.assemble import WindowedExamples


_KNOWN_BACKENDS: set[str] = set()
"""Names of those that have read a batch in this process."""


class _Read(NamedTuple):
    """What was found in windows read together."""

    windows: NDArray[np.int64]
    spans: SpanTable


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let every thread do its own arithmetic; also those that are started meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True, kw_only=True)
class WindowReader:
    """Runs a backend over windows and keeps the best spans of each.

    :param batch_tokens: tokens a batch may hold, padding included
    :param tick: called with the number of windows read after every batch
    """

    backend: Backend
    search: SpanSearch
    batch_tokens: int
    tick: Callable[[int], None]

    def read(
        self, examples: WindowedExamples, characters: ContextCharacters | None
    ) -> tuple[SpanTable, NDArray[np.intp]]:
        """Read all windows of ``examples``.

        :param characters: groups of tokens to search as one, or ``None``
        :returns: the spans found, in order of the windows, and the windows ``(f,)`` that failed: too large for the
            device even alone, or answered by the model with scores that are no numbers
        """
        order = np.argsort(examples.lengths, kind="stable")
        tables, read = [], []
        batches = self._batches(order, examples.lengths[order])
        with closing(self._in_order(examples, batches, characters)) as parts:
            for part in chain.from_iterable(parts):
                tables.append(part.spans)
                read.append(part.windows)
                self.tick(len(part.windows))
        if not tables:
            return SpanTable.missing(0), np.empty(0, dtype=np.intp)
        spans = SpanTable.joined(tables, np.concatenate(read))
        return spans, np.flatnonzero(~np.isfinite(spans.start_mass + spans.end_mass + spans.null_logit))

    def _in_order(
        self,
        examples: WindowedExamples,
        batches: Iterator[NDArray[np.int64]],
        characters: ContextCharacters | None,
    ) -> Generator[list[_Read]]:
        """Yield what was found in each batch, in their order, reading as many at once as the backend can.

        The first batch a process ever reads is read alone. Libraries look things up at their first use and, while
        they do, let other Python code run: a second thread at the same place would hold the interpreter and wait for
        the first, which waits for the interpreter.
        """
        if self.backend.streams == 1:
            yield from (self._read(examples, batch, characters) for batch in batches)
            return
        with _one_thread_each(), ThreadPoolExecutor(self.backend.streams) as pool:
            try:
                for batch in islice(batches, 0 if self.backend.name in _KNOWN_BACKENDS else 1):
                    yield pool.submit(self._read, examples, batch, characters).result()
                    _KNOWN_BACKENDS.add(self.backend.name)
                pending = deque(pool.submit(self._read, examples, batch, characters) for batch in batches)
                while pending:
                    yield pending.popleft().result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _read(
        self, examples: WindowedExamples, batch: NDArray[np.int64], characters: ContextCharacters | None
    ) -> list[_Read]:
        """Read a batch, in parts where memory does not suffice for all of it."""
        pending, found = [batch], []
        while pending:
            chosen = pending.pop()
            try:
                spans = self._search(examples, chosen, characters)
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
            size = max(1, int(np.searchsorted(padded, self.batch_tokens, side="right")))
            yield order[first : first + size]
            first += size

    def _search(
        self, examples: WindowedExamples, chosen: NDArray[np.int64], characters: ContextCharacters | None
    ) -> SpanTable:
        batch = examples.assemble(chosen)
        start_logits, end_logits = self.backend.logits(batch)
        groups = None if characters is None else characters.of_windows(examples, chosen)
        return self.search(start_logits, end_logits, batch, groups)
