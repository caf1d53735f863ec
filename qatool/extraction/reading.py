"""Let the model read windows: batches of like length, sized by a token budget, split when memory runs out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qatool.models.backend import BatchTooLargeError
from qatool.spans.search import SpanTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from qatool.models.backend import Backend
    from qatool.spans.characters import ContextCharacters
    from qatool.spans.search import SpanSearch
    from qatool.windows.assemble import WindowedExamples


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
        for batch in self._batches(order, examples.lengths[order]):
            pending = [batch]
            while pending:
                chosen = pending.pop()
                try:
                    tables.append(self._search(examples, chosen, characters))
                except BatchTooLargeError:
                    if len(chosen) > 1:
                        middle = len(chosen) // 2
                        pending += [chosen[middle:], chosen[:middle]]
                        continue
                    tables.append(SpanTable.missing(1))
                read.append(chosen)
                self.tick(len(chosen))
        if not tables:
            return SpanTable.missing(0), np.empty(0, dtype=np.intp)
        spans = SpanTable.joined(tables, np.concatenate(read))
        return spans, np.flatnonzero(~np.isfinite(spans.start_mass + spans.end_mass + spans.null_logit))

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
