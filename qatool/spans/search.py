"""Find the best legal spans of each window, on the device that holds the logits.

A span is legal when both its ends are context tokens, it does not end before it starts, and it is no longer than
the longest answer. Only the few best spans of each window, and the log masses needed to normalise their scores, are
copied to the host, so full logits never pile up.
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
"""How many starts and ends the SQuAD script pairs in a window, and how many spans of an example it keeps."""


@dataclass(frozen=True, kw_only=True)
class SpanTable:
    """The ``k`` best legal spans of each of ``w`` windows, best first, and the masses of their distributions.

    All logits have been divided by the temperature of the search. Tokens are counted from the first context token of
    the window. Missing spans have the logit ``-inf``.
    """

    start: NDArray[np.int32]
    """``(w, k)``: first token of each span."""
    end: NDArray[np.int32]
    """``(w, k)``: one past the last token of each span."""
    logit: NDArray[np.float32]
    """``(w, k)``: start logit plus end logit, less the length cost of the search."""
    null_logit: NDArray[np.float32]
    """``(w,)``: start plus end logit at the null position."""
    start_mass: NDArray[np.float32]
    """``(w,)``: log-sum-exp of the start logits over context and null position."""
    end_mass: NDArray[np.float32]
    """``(w,)``: the same of the end logits."""
    span_mass: NDArray[np.float32]
    """``(w,)``: log-sum-exp of ``logit`` over all legal spans."""

    def __len__(self) -> int:
        return len(self.null_logit)

    @classmethod
    def joined(cls, tables: Sequence[Self], order: NDArray[np.int64]) -> Self:
        """Return the rows of ``tables`` as one table, with row ``i`` of their concatenation at ``order[i]``."""
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
        """Return the windows ``(f,)`` that were not read, or whose scores are infinite or NaN."""
        return np.flatnonzero(~np.isfinite(self.start_mass + self.end_mass + self.null_logit))

    @classmethod
    def of_rows(cls, rows: NDArray[np.int32]) -> Self:
        """Return the table that :meth:`FoundSpans.written_to` wrote as ``rows (w, 3 * k + 4)``."""
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
        """Return a table of windows that were not read, with no spans and with NaN for all other numbers."""
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
    """Append columns of missing spans, up to ``width`` columns."""
    missing = width - values.shape[1]
    fill = -np.inf if values.dtype == np.float32 else 0
    return np.pad(values, ((0, 0), (0, missing)), constant_values=fill) if missing else values


@dataclass(frozen=True, kw_only=True)
class FoundSpans:
    """A :class:`SpanTable` that is still on the device, with the same columns as tensors."""

    start: Tensor
    end: Tensor
    logit: Tensor
    null_logit: Tensor
    start_mass: Tensor
    end_mass: Tensor
    span_mass: Tensor

    def table(self) -> SpanTable:
        """Return the table on the host; waits for the device."""
        return SpanTable(**{column.name: getattr(self, column.name).cpu().numpy() for column in fields(self)})

    def written_to(self, rows: Tensor) -> None:
        """Write the table as rows of 32-bit words: starts, ends, logits, then null logit and masses.

        :param rows: ``(b, 3 * top_k + 4)``, int32; columns for more spans than were found are left unchanged
        """
        top_k, found = spans_a_row(rows), self.start.shape[1]
        spans = (self.start, self.end, self.logit.view(torch.int32))
        for place, values in enumerate(spans):
            rows[:, place * top_k : place * top_k + found] = values
        numbers = torch.stack([self.null_logit, self.start_mass, self.end_mass, self.span_mass], dim=1)
        rows[:, 3 * top_k :] = numbers.view(torch.int32)


_SPAN_NUMBERS, _WINDOW_NUMBERS = 3, 4
"""How many numbers :meth:`FoundSpans.written_to` writes for each span, and how many for each window."""


def spans_a_row(rows: NDArray[np.int32] | Tensor) -> int:
    """Return how many spans rows ``(w, 3 * top_k + 4)`` have room for."""
    return (rows.shape[1] - _WINDOW_NUMBERS) // _SPAN_NUMBERS


def no_rows(windows: int, top_k: int, device: torch.device) -> Tensor:
    """Return rows ``(windows, 3 * top_k + 4)`` for :meth:`FoundSpans.written_to`, as of windows not read yet."""
    rows = torch.zeros((windows, _SPAN_NUMBERS * top_k + _WINDOW_NUMBERS), dtype=torch.int32, device=device)
    rows[:, 2 * top_k : 3 * top_k] = _bits(-np.inf)
    rows[:, 3 * top_k :] = _bits(np.nan)
    return rows


def _bits(value: float) -> int:
    """Return the 32-bit integer with the same bits as ``value`` in single precision."""
    return int(np.float32(value).view(np.int32))


class SearchedWindows(Protocol):
    """The data of ``b`` windows that a search needs, as arrays, or as tensors on the device of the logits."""

    @property
    def lengths(self) -> NDArray[np.int64] | Tensor:
        """``(b,)``: number of tokens."""
        ...

    @property
    def context_first(self) -> NDArray[np.int64] | Tensor:
        """``(b,)``: column of the first context token."""
        ...

    @property
    def context_length(self) -> NDArray[np.int64] | Tensor:
        """``(b,)``: number of context tokens."""
        ...

    @property
    def null_position(self) -> NDArray[np.int64] | Tensor:
        """``(b,)``: column of the classification token."""
        ...

    @property
    def longest_context(self) -> int:
        """The largest number of context tokens in any window."""
        ...


@dataclass(frozen=True, kw_only=True)
class SpanSearch:
    """The search to do in every window.

    :param top_k: spans to return for each window, at most
    :param max_answer_length: longest span in tokens
    :param script: whether to search as the SQuAD script does: only among the 20 best starts and ends of *all* tokens
    :param temperature: divides all logits, including those that are returned
    :param length_cost: returns the cost, in logits, of spans of given numbers of tokens; it is subtracted from their
        logits. ``None``: no cost
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
        """Search a batch of ``b`` windows of ``t`` tokens, and copy the result to the host.

        :param start_logits: ``(b, t)``, of any floating type, on any device
        :param end_logits: ``(b, t)``, likewise
        :param batch: the windows that the logits belong to
        :param characters: which tokens stand for the same characters; ``None``: each stands for its own
        """
        return self.find(start_logits, end_logits, batch, characters).table()

    def find(
        self,
        start_logits: Tensor,
        end_logits: Tensor,
        batch: SearchedWindows,
        characters: TokenCharacters | None = None,
    ) -> FoundSpans:
        """Search as :meth:`__call__` does, but leave the result on the device; the host does not wait for it."""
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
        """Return the cost ``(l,)`` of each legal length, from 1 token to at most ``tokens`` tokens."""
        longest = min(self.max_answer_length, tokens)
        return _costs(self.length_cost, longest, device)

    def _best_spans(self, starts: Tensor, ends: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logit, start and end of the best legal spans, ``(b, k)`` each.

        The starts of the ``k`` best spans are among the ``k`` starts with the best single spans, so only those are
        paired with all their ends.
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
        """Return logit, start and end, ``(b, k)`` each, of the spans that the SQuAD script finds.

        :param starts: ``(b, t)``: start logits of all tokens, as are ``ends``
        :param first: ``(b, 1)``: column of the first context token
        :param length: ``(b, 1)``: number of context tokens
        """
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
    """Groups of tokens in a batch that stand for the same characters (the bytes of an emoji, say) or for none.

    For each token there is the one token of its group that may start (or end) a span, ``-1`` when none may. The best
    logit of the group is given to that token, so that no two legal spans have the same characters.
    """

    start_token: NDArray[np.int64] | Tensor
    """``(b, c)``: the token that starts spans in place of each token, counted from the first context token of the
    window."""
    end_token: NDArray[np.int64] | Tensor
    """``(b, c)``: the token that ends spans in place of each token, counted likewise."""

    @staticmethod
    def fold(logits: Tensor, token: Tensor) -> Tensor:
        """Return ``logits (b, c)`` with the best of each group at the token that represents it, else ``-inf``."""
        source = logits.masked_fill(token < 0, -torch.inf)
        folded = torch.full_like(logits, -torch.inf)
        return folded.scatter_reduce(1, token.clamp(min=0), source, "amax")


@lru_cache(maxsize=1_024)
def _costs(length_cost: LengthCosts | None, longest: int, device: torch.device) -> Tensor:
    """Return the cost ``(l,)`` of each length; cached for each device, as copying to it makes the host wait."""
    if length_cost is None:
        return torch.zeros(longest, device=device)
    return torch.tensor(length_cost(np.arange(1, longest + 1)), dtype=torch.float32, device=device)


def _bands(ends: Tensor, costs: Tensor) -> Tensor:
    """Return ``(b, c, l)``: for each start and length the logit of the end, less the cost of the length."""
    longest = len(costs)
    return functional.pad(ends, (0, longest - 1), value=-torch.inf).unfold(1, longest, 1) - costs


def _span_mass(starts: Tensor, ends: Tensor, costs: Tensor) -> Tensor:
    """Return the log-sum-exp ``(b,)`` over all legal spans of start plus end logit, less the length cost.

    :param costs: ``(l,)``: the cost of each legal length
    """
    return (starts + _bands(ends, costs).logsumexp(2)).logsumexp(1)
