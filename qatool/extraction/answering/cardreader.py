"""Let a card read the windows of a shard without the host ever waiting for it.

The tokens of a shard, and where its windows lie in them, are copied to the card once. Batches are put together on the
card, their best spans are found there, and the results are copied back once. Until then the host only launches work,
some milliseconds ahead of the card.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from qatool.logs import log_event
from qatool.models.backend import BatchTooLargeError
from qatool.models.pytorch.memory import telling_too_large, unless_full
from qatool.models.pytorch.packed import PackedBatch
from qatool.spans.search import SCRIPT_N_BEST, SpanTable, TokenCharacters, no_rows, spans_a_row
from qatool.windows.pieces import PIECES, WindowPieces
from qatool.windows.ragged import offsets_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from qatool.models.backend import Backend, DeviceBackend
    from qatool.models.pytorch.lanes import Download
    from qatool.spans.characters import ContextCharacters
    from qatool.spans.search import SpanSearch
    from qatool.windows.assemble import WindowedExamples


def device_backend(backend: Backend) -> DeviceBackend | None:
    """Return the backend, typed as one that puts its batches together itself; ``None`` if the host must do that."""
    return None if getattr(backend, "lane", None) is None else cast("DeviceBackend", backend)


@dataclass(frozen=True, kw_only=True)
class CardShard:
    """The data of a shard that a card needs."""

    pieces: WindowPieces
    characters: tuple[NDArray[np.int32], NDArray[np.int32]] | None
    """For each context token, the token that starts spans in its place and the token that ends them; ``None``: each
    token stands for itself."""

    @classmethod
    def of(cls, examples: WindowedExamples, characters: ContextCharacters | None) -> CardShard:
        """Make one from the windows of a shard.

        :param characters: groups of tokens to search as one, or ``None``
        """
        groups = None
        if characters is not None and not characters.plain:
            groups = characters.start_token.astype(np.int32), characters.end_token.astype(np.int32)
        return cls(pieces=WindowPieces.of(examples), characters=groups)

    def only(self, windows: NDArray[np.intp]) -> CardShard:
        """Return a copy with only ``windows (f,)``, ascending."""
        return replace(self, pieces=self.pieces.only(windows))


class _Uploaded:
    """A shard that has been copied to its device.

    :param backend: copies it there
    """

    def __init__(self, shard: CardShard, backend: DeviceBackend) -> None:
        pieces = shard.pieces
        self._pieces = pieces
        self._lengths, self._context_length = pieces.lengths, pieces.context_length
        self._offsets = offsets_of(self._lengths)
        arrays: dict[str, NDArray[Any]] = {
            "pool": pieces.pool,
            "starts": pieces.starts.ravel(),
            "piece_offsets": offsets_of(pieces.sizes.ravel()),
            "offsets": self._offsets,
            "lengths": self._lengths,
            "context_first": pieces.context_first,
            "context_length": self._context_length,
            "context_start": pieces.context_start,
            "null_position": pieces.null_position,
        }
        if pieces.type_pool is not None:
            arrays["type_pool"] = pieces.type_pool
        if shard.characters is not None:
            arrays["start_token"], arrays["end_token"] = shard.characters
        self._there = backend.lane.upload(arrays)

    def tokens(self, first: int, last: int) -> int:
        """Return the number of tokens in windows ``first:last`` when each is padded to the longest."""
        return int(self._lengths[last - 1]) * (last - first)

    def batch(self, first: int, last: int) -> PackedBatch:
        """Return windows ``first:last`` as a batch, put together on the device."""
        there = self._there
        begin, end = int(self._offsets[first]), int(self._offsets[last])
        token = torch.arange(begin, end, device=there["offsets"].device)
        piece = torch.searchsorted(there["piece_offsets"], token, right=True) - 1
        place = there["starts"][piece] + token - there["piece_offsets"][piece]
        types = there.get("type_pool")
        return PackedBatch(
            input_ids=there["pool"][place].long(),
            token_type_ids=None if types is None else types[place].long(),
            position=token - there["offsets"][piece // PIECES],
            boundaries=there["offsets"][first : last + 1] - begin,
            lengths=there["lengths"][first:last],
            context_first=there["context_first"][first:last],
            context_length=there["context_length"][first:last],
            null_position=there["null_position"][first:last],
            longest=int(self._lengths[last - 1]),
            longest_context=int(self._context_length[first:last].max()),
            pad_token_id=self._pieces.pad_token_id,
        )

    def characters(self, first: int, last: int) -> TokenCharacters | None:
        """Return the token groups of windows ``first:last``, as ``ContextCharacters.of_windows`` does."""
        there = self._there
        if "start_token" not in there:
            return None
        start, length = (there[name][first:last, None] for name in ("context_start", "context_length"))
        position = torch.arange(int(self._context_length[first:last].max()), device=start.device)
        flat = start + position

        def within(tokens: Tensor) -> Tensor:
            token = tokens[flat.clamp(max=len(tokens) - 1)].long()
            nothing = (token < 0) | (position >= length)
            return torch.minimum((token - start).clamp(min=0), length - 1).masked_fill(nothing, -1)

        return TokenCharacters(start_token=within(there["start_token"]), end_token=within(there["end_token"]))


@dataclass(frozen=True, kw_only=True)
class LaunchedShard:
    """A shard whose reading has been launched on the card."""

    shard: CardShard
    rows: Download

    def ready(self) -> bool:
        """Return whether the card has finished reading."""
        return self.rows.ready()


@dataclass(frozen=True, kw_only=True)
class CardReader:
    """Runs a backend over windows on its own device and keeps the best spans of each window.

    :param batch_tokens: most tokens in a batch, padding included
    :param tick: called with the number of windows of every batch, as soon as the batch is launched
    """

    backend: DeviceBackend
    search: SpanSearch
    batch_tokens: int
    tick: Callable[[int], None]

    def read(
        self, examples: WindowedExamples, characters: ContextCharacters | None
    ) -> tuple[SpanTable, NDArray[np.intp]]:
        """Read all windows of ``examples``; see :meth:`~qatool.extraction.answering.reading.WindowReader.read`."""
        return self.collect(self.launch(CardShard.of(examples, characters)))

    def launch(self, shard: CardShard, *, most: int | None = None) -> LaunchedShard:
        """Launch the reading of a shard on the card, and return without waiting for it.

        :param most: spans to reserve space for in each window; ``None``: as many as a window can have
        :raises EnvironmentUnfitError: the card lacks memory even for the tokens of the shard
        """
        device = torch.device(self.backend.device)
        windows = len(shard.pieces)
        with torch.inference_mode():
            with unless_full("the tokens of a shard", device):
                rows = no_rows(windows, self._most(shard.pieces) if most is None else most, device)
                if windows:
                    uploaded = _Uploaded(shard, self.backend)
            if windows:
                for first, last in self._batches(shard.pieces.lengths):
                    self._read(uploaded, first, last, rows[first:last])
                    self.tick(last - first)
            return LaunchedShard(shard=shard, rows=self.backend.lane.download(rows))

    def collect(self, launched: LaunchedShard) -> tuple[SpanTable, NDArray[np.intp]]:
        """Wait until a shard is read; see :meth:`~qatool.extraction.answering.reading.WindowReader.collect`."""
        pieces = launched.shard.pieces
        rows = launched.rows.wait()
        failed = SpanTable.of_rows(rows).unread()
        if len(failed):
            rows = rows.copy()
            self._read_again(launched.shard, failed, rows)
        table = np.empty_like(rows)
        table[pieces.order] = rows
        spans = SpanTable.of_rows(table)
        return spans, spans.unread()

    def _read_again(self, shard: CardShard, failed: NDArray[np.intp], rows: NDArray[np.int32]) -> None:
        """Read the ``failed`` windows again in a number format of wider range, where the backend has one."""
        wider = self.backend.wider()
        if wider is None:
            return
        log_event("some windows are read again", windows=len(failed), precision=wider.precision)
        again = CardReader(backend=wider, search=self.search, batch_tokens=self.batch_tokens, tick=lambda _: None)
        rows[failed] = again.launch(shard.only(failed), most=spans_a_row(rows)).rows.wait()

    def _most(self, pieces: WindowPieces) -> int:
        """Return the most spans that can be kept of any window: ``top_k``, or fewer where windows are short."""
        tokens = int(pieces.context_length.max(initial=0))
        there = SCRIPT_N_BEST**2 if self.search.script else tokens * min(tokens, self.search.max_answer_length)
        return min(self.search.top_k, there)

    def _batches(self, lengths: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        """Cut windows, sorted by length, into runs of at most ``batch_tokens`` tokens.

        Padding counts, unless the backend packs windows without any.
        """
        first, offsets = 0, offsets_of(lengths)
        while first < len(lengths):
            most = min(self.batch_tokens, self.backend.fitting_tokens)
            if self.backend.packs:
                held = offsets[first + 1 :] - offsets[first]
            else:
                held = lengths[first:] * np.arange(1, len(lengths) - first + 1)
            last = first + max(1, int(np.searchsorted(held, most, side="right")))
            yield first, last
            first = last

    def _read(self, uploaded: _Uploaded, begin: int, end: int, rows: Tensor) -> None:
        """Read windows ``begin:end``; where memory runs out, read them in parts and make later batches smaller.

        :param rows: the rows that the results are written to
        """
        pending = [(begin, end)]
        while pending:
            first, last = pending.pop()
            try:
                with telling_too_large():
                    self._search(uploaded, first, last, rows[first - begin : last - begin])
            except BatchTooLargeError:
                if last - first > 1:
                    middle = (first + last) // 2
                    pending += [(middle, last), (first, middle)]
                    self._fits_at_most(uploaded.tokens(first, middle))

    def _fits_at_most(self, tokens: int) -> None:
        if tokens < self.backend.fitting_tokens:
            self.backend.fitting_tokens = tokens
            log_event("the device lacks memory for a batch; they are smaller from now on", batch_tokens=tokens)

    def _search(self, uploaded: _Uploaded, first: int, last: int, rows: Tensor) -> None:
        batch = uploaded.batch(first, last)
        start_logits, end_logits = self.backend.packed_logits(batch)
        found = self.search.find(start_logits, end_logits, batch, uploaded.characters(first, last))
        found.written_to(rows)
