"""The best legal spans of each window, found on the device the logits lie on.

A span is legal when both its ends are context tokens, it does not end before it starts and it is no longer than
the longest answer. Of a window's logits only its few best spans and the log masses needed to normalise their
scores come back to the host, so full logits never pile up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qatool.windows.assemble import WindowBatch

LengthCosts = Callable[[NDArray[np.integer]], NDArray[np.float64]]
SCRIPT_N_BEST = 20
"""Starts and ends the SQuAD script pairs in a window, and spans it keeps of an example."""


@dataclass(frozen=True, kw_only=True)
class SpanTable:
    """The ``k`` best legal spans of each of ``w`` windows, best first, and the masses of their distributions.

    Tokens count from the window's first context token. Missing spans have the logit ``-inf``.
    """

    start: NDArray[np.int32]
    """``(w, k)``: first token of the span."""
    end: NDArray[np.int32]
    """``(w, k)``: one past its last token."""
    logit: NDArray[np.float32]
    """``(w, k)``: start logit plus end logit."""
    null_logit: NDArray[np.float32]
    """``(w,)``: start plus end logit at the null position."""
    start_mass: NDArray[np.float32]
    """``(w,)``: log-sum-exp of the start logits over context and null position."""
    end_mass: NDArray[np.float32]
    """``(w,)``: the same of the end logits."""
    span_mass: NDArray[np.float32]
    """``(w,)``: log-sum-exp of start plus end logit over all legal spans."""

    def __len__(self) -> int:
        return len(self.null_logit)

    @classmethod
    def joined(cls, tables: Sequence[Self], order: NDArray[np.int64]) -> Self:
        """Concatenate ``tables`` and put row ``i`` of the result at ``order[i]``."""
        columns = {}
        for column in fields(cls):
            values = [getattr(table, column.name) for table in tables]
            width = max((v.shape[1] for v in values if v.ndim == 2), default=0)
            padded = [_widened(v, width) if v.ndim == 2 else v for v in values]
            flat = np.concatenate(padded)
            columns[column.name] = np.empty_like(flat)
            columns[column.name][order] = flat
        return cls(**columns)

    def unread(self) -> NDArray[np.intp]:
        """Return the windows whose numbers are none: not read, or answered with infinite scores or NaN."""
        return np.flatnonzero(~np.isfinite(self.start_mass + self.end_mass + self.null_logit))

    @classmethod
    def of_rows(cls, rows: NDArray[np.int32]) -> Self:
        """Take rows ``(w, 3 * k + 4)`` apart that :meth:`FoundSpans.written_to` wrote."""
        top_k = spans_a_row(rows)
        start, end, logit, numbers = np.split(rows, [top_k, 2 * top_k, 3 * top_k], axis=1)
        null_logit, start_mass, end_mass, span_mass = np.ascontiguousarray(numbers).view(np.float32).T
        return cls(
            start=start,
            end=end,
            logit=np.ascontiguousarray(logit).view(np.float32),
            null_logit=null_logit,
            start_mass=start_mass,
            end_mass=end_mass,
            span_mass=span_mass,
        )

    @classmethod
    def missing(cls, windows: int) -> Self:
        """Return a table of windows that were not read: no spans, no numbers."""
        places, values = np.empty((windows, 0), np.int32), np.full(windows, np.nan, np.float32)
        return cls(
            start=places,
            end=places,
            logit=np.empty((windows, 0), np.float32),
            null_logit=values,
            start_mass=values,
            end_mass=values,
            span_mass=values,
        )


def _widened(values: NDArray[np.generic], width: int) -> NDArray[np.generic]:
    """Append columns for missing spans up to ``width``."""
    missing = width - values.shape[1]
    fill = -np.inf if values.dtype == np.float32 else 0
    return np.pad(values, ((0, 0), (0, missing)), constant_values=fill) if missing else values


@dataclass(frozen=True, kw_only=True)
class FoundSpans:
    """A :class:`SpanTable` that is still on the device: the same columns, as tensors."""

    start: Tensor
    end: Tensor
    logit: Tensor
    null_logit: Tensor
    start_mass: Tensor
    end_mass: Tensor
    span_mass: Tensor

    def table(self) -> SpanTable:
        """Return it on the host; waits for the device."""
        return SpanTable(**{column.name: getattr(self, column.name).cpu().numpy() for column in fields(self)})

    def written_to(self, rows: Tensor) -> None:
        """Write it as rows of 32-bit words: starts, ends, logits, then null logit and masses.

        :param rows: ``(b, 3 * top_k + 4)``, int32; the columns of spans beyond those found stay as they are
        """
        top_k, found = spans_a_row(rows), self.start.shape[1]
        spans = (self.start, self.end, self.logit.view(torch.int32))
        for place, values in enumerate(spans):
            rows[:, place * top_k : place * top_k + found] = values
        numbers = torch.stack([self.null_logit, self.start_mass, self.end_mass, self.span_mass], dim=1)
        rows[:, 3 * top_k :] = numbers.view(torch.int32)


_SPAN_NUMBERS, _WINDOW_NUMBERS = 3, 4
"""In a row that :meth:`FoundSpans.written_to` writes: of each span, and of its window."""


def spans_a_row(rows: NDArray[np.int32] | Tensor) -> int:
    """Return how many spans rows ``(w, 3 * top_k + 4)`` have room for."""
    return (rows.shape[1] - _WINDOW_NUMBERS) // _SPAN_NUMBERS


def no_rows(windows: int, top_k: int, device: torch.device) -> Tensor:
    """Return rows for :meth:`FoundSpans.written_to` that say that nothing was read: ``(windows, 3 * top_k + 4)``."""
    rows = torch.zeros((windows, _SPAN_NUMBERS * top_k + _WINDOW_NUMBERS), dtype=torch.int32, device=device)
    rows[:, 2 * top_k : 3 * top_k] = _bits(-np.inf)
    rows[:, 3 * top_k :] = _bits(np.nan)
    return rows


def _bits(value: float) -> int:
    """Return a 32-bit float as the integer of the same bits."""
    return int(np.float32(value).view(np.int32))


class SearchedWindows(Protocol):
    """What a search must know of ``b`` windows; arrays, or tensors where the logits are."""

    @property
    def lengths(self) -> NDArray[np.int64] | Tensor:
        """``(b,)``: tokens."""
        ...

    @property
    def context_first(self) -> NDArray[np.int64] | Tensor:
        """``(b,)``: column of the first context token."""
        ...

    @property
    def context_length(self) -> NDArray[np.int64] | Tensor:
        """``(b,)``"""
        ...

    @property
    def null_position(self) -> NDArray[np.int64] | Tensor:
        """``(b,)``: column of the classification token."""
        ...

    @property
    def longest_context(self) -> int:
        """Most context tokens of a window."""
        ...


@dataclass(frozen=True, kw_only=True)
class SpanSearch:
    """What to look for in every window.

    :param top_k: spans returned of each window
    :param max_answer_length: longest span in tokens
    :param script: look as the SQuAD script does: only among the 20 best starts and ends of *all* tokens
    :param temperature: divides all logits; those returned are divided
    :param length_cost: gives what is subtracted from the logits of spans of so many tokens, ``None`` for nothing
    """

    top_k: int
    max_answer_length: int
    script: bool = False
    temperature: float = 1.0
    length_cost: LengthCosts | None = None

    def __call__(
        self,
        start_logits: Tensor,
        end_logits: Tensor,
        batch: WindowBatch,
        characters: TokenCharacters | None = None,
    ) -> SpanTable:
        """Search a batch of ``b`` windows of ``t`` tokens, and bring what was found to the host.

        :param start_logits: ``(b, t)``, any floating type, any device
        :param end_logits: ``(b, t)``
        :param batch: the windows the logits belong to
        :param characters: which tokens share their characters; ``None`` when no two do
        """
        return self.find(start_logits, end_logits, batch, characters).table()

    def find(
        self,
        start_logits: Tensor,
        end_logits: Tensor,
        batch: SearchedWindows,
        characters: TokenCharacters | None = None,
    ) -> FoundSpans:
        """Search as calling it does, and leave what was found where the logits are; nothing waits for the device."""
        device = start_logits.device

        def moved(values: NDArray[np.generic] | Tensor) -> Tensor:
            return torch.as_tensor(values, device=device)

        starts, ends = start_logits.float() / self.temperature, end_logits.float() / self.temperature
        null = moved(batch.null_position)[:, None]
        first, length = moved(batch.context_first)[:, None], moved(batch.context_length)[:, None]
        position = torch.arange(batch.longest_context, device=device)
        column = (first + position).clamp(max=starts.shape[1] - 1)
        outside = position >= length
        context_starts = starts.gather(1, column).masked_fill(outside, -torch.inf)
        context_ends = ends.gather(1, column).masked_fill(outside, -torch.inf)
        null_start, null_end = starts.gather(1, null), ends.gather(1, null)
        start_mass = torch.cat([context_starts, null_start], dim=1).logsumexp(1)
        end_mass = torch.cat([context_ends, null_end], dim=1).logsumexp(1)
        if characters is not None:
            context_starts = characters.fold(context_starts, moved(characters.start_token))
            context_ends = characters.fold(context_ends, moved(characters.end_token))
        if self.script:
            padding = torch.arange(starts.shape[1], device=device) >= moved(batch.lengths)[:, None]
            found = self._script_spans(
                starts.masked_fill(padding, -torch.inf), ends.masked_fill(padding, -torch.inf), first, length
            )
        else:
            found = self._best_spans(context_starts, context_ends)
        logit, start, end = found
        mass = _span_mass(context_starts, context_ends, self._costs(device, position.shape[0]))
        return FoundSpans(
            start=start.int(),
            end=end.int(),
            logit=logit,
            null_logit=(null_start + null_end)[:, 0],
            start_mass=start_mass,
            end_mass=end_mass,
            span_mass=torch.maximum(mass, logit.amax(1)),
        )

    def _costs(self, device: torch.device, tokens: int) -> Tensor:
        """Return the cost ``(l,)`` of each length that is legal among ``tokens`` tokens."""
        longest = min(self.max_answer_length, tokens)
        return _costs(self.length_cost, longest, device)

    def _best_spans(self, starts: Tensor, ends: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logit, start and end ``(b, k)`` of the best legal spans.

        The starts of the ``k`` best spans are among the ``k`` starts whose own best span is best, so only those
        meet all their ends.
        """
        costs = self._costs(starts.device, starts.shape[1])
        longest = len(costs)
        bands = _bands(ends, costs)
        k = min(self.top_k, starts.shape[1])
        best_starts = (starts + bands.amax(2)).topk(k, dim=1).indices
        rows = best_starts[:, :, None].expand(-1, -1, longest)
        sums = (starts.gather(1, best_starts)[:, :, None] + bands.gather(1, rows)).flatten(1)
        logit, cell = sums.topk(min(self.top_k, sums.shape[1]), dim=1)
        start = best_starts.gather(1, cell // longest)
        return logit, start, start + cell % longest + 1

    def _script_spans(
        self, starts: Tensor, ends: Tensor, first: Tensor, length: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return logit, start and end ``(b, k)`` as the SQuAD script finds them among all tokens' logits."""
        n_best = min(SCRIPT_N_BEST, starts.shape[1])
        start_logit, start = starts.topk(n_best, dim=1)
        end_logit, end = ends.topk(n_best, dim=1)
        start, end = (start - first)[:, :, None], (end - first)[:, None, :]
        too_long = end - start >= min(self.max_answer_length, torch.iinfo(torch.int64).max)
        illegal = (start < 0) | (end >= length[:, :, None]) | (end < start) | too_long
        sums = (start_logit[:, :, None] + end_logit[:, None, :]).masked_fill(illegal, -torch.inf)
        logit, cell = sums.flatten(1).topk(min(self.top_k, n_best * n_best), dim=1)
        start = start[:, :, 0].gather(1, cell // n_best)
        end = end[:, 0, :].gather(1, cell % n_best)
        return logit, start, end + 1


@dataclass(frozen=True, kw_only=True)
class TokenCharacters:
    """Which tokens of a batch stand for the same characters (the bytes of an emoji, say) or for none.

    Each token names the one token of its group that may start (end) a span, ``-1`` when none may: the groups'
    logits are folded into it, so that no two legal spans have the same characters.
    """

    start_token: NDArray[np.int64] | Tensor
    """``(b, c)``: token, counted from the window's first context token, that starts for this one."""
    end_token: NDArray[np.int64] | Tensor
    """``(b, c)``: token that ends for this one."""

    @staticmethod
    def fold(logits: Tensor, token: Tensor) -> Tensor:
        """Give each group's best logit ``(b, c)`` to the token that stands for it, ``-inf`` to the others."""
        source = logits.masked_fill(token < 0, -torch.inf)
        folded = torch.full_like(logits, -torch.inf)
        return folded.scatter_reduce(1, token.clamp(min=0), source, "amax")


@lru_cache(maxsize=1_024)
def _costs(length_cost: LengthCosts | None, longest: int, device: torch.device) -> Tensor:
    """Return what lengths cost ``(l,)``, made once for each device: copying them there waits for it."""
    if length_cost is None:
        return torch.zeros(longest, device=device)
    return torch.tensor(length_cost(np.arange(1, longest + 1)), dtype=torch.float32, device=device)


def _bands(ends: Tensor, costs: Tensor) -> Tensor:
    """Return for each start the end logits it can meet, less the cost of the length: ``(b, c, l)``."""
    longest = len(costs)
    return functional.pad(ends, (0, longest - 1), value=-torch.inf).unfold(1, longest, 1) - costs


def _span_mass(starts: Tensor, ends: Tensor, costs: Tensor) -> Tensor:
    """Return the log-sum-exp ``(b,)`` of start plus end logit less cost over all legal spans.

    :param costs: ``(l,)`` cost of each legal length
    """
    return (starts + _bands(ends, costs).logsumexp(2)).logsumexp(1)
