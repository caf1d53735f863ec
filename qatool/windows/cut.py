"""Cut tokenised examples into overlapping windows, exactly as the tokenizer itself does, as index arrays.

The windows are those of ``tokenizer(question, context, truncation="only_second", max_length=…, stride=…,
return_overflowing_tokens=True)``: full windows every ``room - stride`` context tokens, until one reaches the end
of the context. Nothing is copied: a window is a range of its context's tokens, and only batches are materialised.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qatool.errors import UsageError
from qatool.windows.ragged import Ints, offsets_of, positions


@dataclass(frozen=True, kw_only=True)
class WindowSize:
    """The sizes by which windows are cut, in tokens.

    :param max_length: longest window, special tokens included
    :param stride: context tokens shared by neighbouring windows
    :param question_budget: most tokens of a question; longer questions are cut
    """

    max_length: int
    stride: int
    question_budget: int


@dataclass(frozen=True, kw_only=True)
class Windows:
    """The ``w`` windows of a list of ``n`` examples, in order of example and position."""

    overflow_to_sample_mapping: NDArray[np.int64]
    """``(w,)``: the example that each window was cut from."""
    window: NDArray[np.int32]
    """``(w,)``: number of the window within its example, from 0."""
    context_start: NDArray[np.int64]
    """``(w,)``: index of the window's first context token within the context."""
    context_end: NDArray[np.int64]
    """``(w,)``: index one past the window's last context token."""
    n_windows: NDArray[np.int64]
    """``(n,)``: number of windows of each example in this object."""
    n_cut: NDArray[np.int64]
    """``(n,)``: number of windows that each example was cut into, including any that were left out since."""

    def __len__(self) -> int:
        return len(self.window)

    @property
    def context_length(self) -> NDArray[np.int64]:
        """Context tokens of each window: ``(w,)``."""
        return self.context_end - self.context_start

    @property
    def boundaries(self) -> NDArray[np.int64]:
        """Boundaries ``(n + 1,)`` of the examples: those of example ``i`` are ``boundaries[i]:boundaries[i + 1]``."""
        return offsets_of(self.n_windows)

    def only(self, kept: NDArray[np.bool_]) -> Windows:
        """Return the windows where ``kept (w,)`` is true; their numbers do not change."""
        sample = self.overflow_to_sample_mapping[kept]
        return Windows(
            overflow_to_sample_mapping=sample,
            window=self.window[kept],
            context_start=self.context_start[kept],
            context_end=self.context_end[kept],
            n_windows=np.bincount(sample, minlength=len(self.n_windows)),
            n_cut=self.n_cut,
        )

    @classmethod
    def merged(cls, some: Windows, others: Windows) -> tuple[Windows, NDArray[np.intp]]:
        """Return the windows of both objects in order of examples; no example may have windows in both.

        :returns: the windows, and the index ``(w,)`` of each in the concatenation of ``some`` and ``others``
        """
        sample = np.concatenate([some.overflow_to_sample_mapping, others.overflow_to_sample_mapping])
        order = np.argsort(sample, kind="stable")
        return cls(
            overflow_to_sample_mapping=sample[order],
            window=np.concatenate([some.window, others.window])[order],
            context_start=np.concatenate([some.context_start, others.context_start])[order],
            context_end=np.concatenate([some.context_end, others.context_end])[order],
            n_windows=some.n_windows + others.n_windows,
            n_cut=some.n_cut,
        ), order


def question_budget(*, max_length: int, stride: int, n_special: int, max_question_length: int | None) -> int:
    """Return the most tokens of a question that leave room for ``stride + 1`` context tokens in every window.

    :param max_question_length: upper limit that the user gave, if any
    :raises UsageError: not even one question token fits
    """
    budget = max_length - n_special - (stride + 1)
    if budget < 1:
        raise UsageError(
            f"--max-length {max_length} with --stride {stride}: {n_special} special tokens and {stride + 1} "
            "context tokens leave no room for a question; raise --max-length or lower --stride"
        )
    return budget if max_question_length is None else min(budget, max_question_length)


def cut_windows(
    question_lengths: Ints, context_lengths: Ints, *, max_length: int, stride: int, n_special: int
) -> Windows:
    """Cut every example into windows.

    An example whose context has no token gets no window (the tokenizer would return one without context).

    :param question_lengths: ``(n,)`` tokens, none above the question budget
    :param context_lengths: ``(n,)`` tokens
    :param max_length: tokens of a window, special tokens included
    :param stride: context tokens shared by neighbouring windows
    :param n_special: special tokens of a window
    """
    context = np.asarray(context_lengths, dtype=np.int64)
    room = max_length - n_special - np.asarray(question_lengths, dtype=np.int64)
    step = room - stride
    if len(step) and step.min() < 1:
        raise ValueError("a question is longer than the question budget")
    overflowing = np.maximum(context - room, 0)
    n_windows = np.where(context > 0, 1 + -(-overflowing // step), 0)
    sample = np.repeat(np.arange(len(context)), n_windows)
    window = positions(n_windows)
    start = window * step[sample]
    return Windows(
        overflow_to_sample_mapping=sample,
        window=window.astype(np.int32),
        context_start=start,
        context_end=np.minimum(start + room[sample], context[sample]),
        n_windows=n_windows,
        n_cut=n_windows,
    )
