"""Materialise windows: as padded batches for a model, or unpadded for features on disk."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from qatool.windows.cut import Windows
from qatool.windows.ragged import Ints, offsets_of, ranges
from qatool.windows.tokenizer import PairTemplate, TokenizedTexts


@dataclass(frozen=True, kw_only=True)
class WindowBatch:
    """Windows of similar length, padded on the right. ``b`` windows, ``t`` tokens, padding included."""

    input_ids: NDArray[np.int32]
    """``(b, t)``"""
    token_type_ids: NDArray[np.int32] | None
    """``(b, t)``, or ``None`` where the model has none."""
    lengths: NDArray[np.int64]
    """``(b,)``: tokens without padding."""
    context_first: NDArray[np.int64]
    """``(b,)``: column of the first context token."""
    context_length: NDArray[np.int64]
    """``(b,)``"""
    null_position: NDArray[np.int64]
    """``(b,)``: column of the classification token."""

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def longest_context(self) -> int:
        """Most context tokens of a window."""
        return int(self.context_length.max(initial=0))


@dataclass(frozen=True, kw_only=True)
class UnpaddedWindows:
    """Windows as ragged arrays: tokens of window ``i`` stand at ``boundaries[i]:boundaries[i + 1]``."""

    input_ids: NDArray[np.int32]
    """``(tokens,)``"""
    token_type_ids: NDArray[np.int8] | None
    """``(tokens,)``, or ``None`` where the model has none."""
    offset_mapping: NDArray[np.int32]
    """``(tokens, 2)``: range of each token in its own text, question or context; (0, 0) for special tokens."""
    boundaries: NDArray[np.int64]
    """``(w + 1,)``"""
    context_start: NDArray[np.int64]
    """``(w,)``: position of the first context token in the window."""
    context_end: NDArray[np.int64]
    """``(w,)``: one past that of the last."""
    null_position: NDArray[np.int64]
    """``(w,)``: position of the classification token."""


@dataclass(frozen=True, kw_only=True)
class WindowedExamples:
    """Examples of a shard: questions and contexts tokenised once each, and the windows cut from them.

    Example ``i`` asks ``questions[question_index[i]]`` of ``contexts[context_index[i]]``.
    """

    questions: TokenizedTexts
    contexts: TokenizedTexts
    question_index: NDArray[np.int64]
    """``(n,)``"""
    context_index: NDArray[np.int64]
    """``(n,)``"""
    question_lengths: NDArray[np.int64]
    """``(n,)``: tokens within the question budget."""
    question_is_cut: NDArray[np.bool_]
    """``(n,)``: whether the question has more than those."""
    windows: Windows
    template: PairTemplate
    pad_token_id: int
    uses_token_types: bool

    @cached_property
    def pool(self) -> NDArray[np.int32]:
        """Every token a window can hold: the special ones, all questions, all contexts."""
        template = self.template
        special = np.array(template.prefix + template.middle + template.suffix, dtype=np.int32)
        return np.concatenate([special, self.questions.input_ids, self.contexts.input_ids])

    @cached_property
    def type_pool(self) -> NDArray[np.int8]:
        """The token type of every token of the pool."""
        template = self.template
        special = np.array(template.special_type_ids, dtype=np.int8)
        questions = np.full(len(self.questions.input_ids), template.question_type_id, dtype=np.int8)
        contexts = np.full(len(self.contexts.input_ids), template.context_type_id, dtype=np.int8)
        return np.concatenate([special, questions, contexts])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each window, special tokens included: ``(w,)``."""
        questions = self.question_lengths[self.windows.overflow_to_sample_mapping]
        return questions + self.windows.context_length + self.template.n_special

    def context_token(self, window: Ints, position: Ints) -> NDArray[np.int64]:
        """Return the flat index within ``contexts`` of tokens given by window and position in its slice."""
        sample = self.windows.overflow_to_sample_mapping[window]
        first = self.contexts.offsets[self.context_index[sample]] + self.windows.context_start[window]
        return first + position

    def assemble(self, chosen: Ints) -> WindowBatch:
        """Materialise the ``chosen`` windows ``(b,)`` as one padded batch."""
        template = self.template
        starts, sizes = self.pieces(chosen)
        lengths = sizes.sum(axis=1)
        width = int(lengths.max(initial=0))
        filled = np.arange(width) < lengths[:, None]
        input_ids = np.full(filled.shape, self.pad_token_id, dtype=np.int32)
        tokens = ranges(starts.ravel(), sizes.ravel())
        input_ids[filled] = self.pool[tokens]
        token_type_ids = None
        if self.uses_token_types:
            token_type_ids = np.zeros(filled.shape, dtype=np.int32)
            token_type_ids[filled] = self.type_pool[tokens]
        return WindowBatch(
            input_ids=input_ids,
            token_type_ids=token_type_ids,
            lengths=lengths,
            context_first=sizes[:, :3].sum(axis=1),
            context_length=sizes[:, 3],
            null_position=lengths - 1 if template.null_in_suffix else np.zeros_like(lengths),
        )

    def unpadded(self) -> UnpaddedWindows:
        """Materialise all windows one after the other, with the offsets of their tokens.

        :raises ValueError: the texts were tokenised without offsets
        """
        if self.questions.offset_mapping is None or self.contexts.offset_mapping is None:
            raise ValueError("offsets are needed of questions and contexts")
        template = self.template
        starts, sizes = self.pieces(np.arange(len(self.windows)))
        tokens = ranges(starts.ravel(), sizes.ravel())
        special = np.zeros((template.n_special, 2), dtype=np.int32)
        offsets = np.concatenate([special, self.questions.offset_mapping, self.contexts.offset_mapping])
        lengths = sizes.sum(axis=1)
        first = sizes[:, :3].sum(axis=1)
        return UnpaddedWindows(
            input_ids=self.pool[tokens],
            token_type_ids=self.type_pool[tokens] if self.uses_token_types else None,
            offset_mapping=offsets[tokens],
            boundaries=offsets_of(lengths),
            context_start=first,
            context_end=first + sizes[:, 3],
            null_position=lengths - 1 if template.null_in_suffix else np.zeros_like(lengths),
        )

    def pieces(self, chosen: Ints) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return where in the pool the five pieces of the ``chosen`` windows begin, and their tokens: ``(b, 5)``."""
        template, windows = self.template, self.windows
        sample = windows.overflow_to_sample_mapping[chosen]
        n_question = self.question_lengths[sample]
        n_context = windows.context_length[chosen]
        question_first = self.questions.offsets[self.question_index[sample]]
        context_first = self.contexts.offsets[self.context_index[sample]] + windows.context_start[chosen]

        n_prefix, n_middle = len(template.prefix), len(template.middle)
        questions_at = template.n_special
        contexts_at = questions_at + len(self.questions.input_ids)

        def everywhere(value: int) -> NDArray[np.int64]:
            return np.full(len(chosen), value, dtype=np.int64)

        starts = np.stack(
            [
                everywhere(0),
                questions_at + question_first,
                everywhere(n_prefix),
                contexts_at + context_first,
                everywhere(n_prefix + n_middle),
            ],
            axis=1,
        )
        sizes = np.stack(
            [
                everywhere(n_prefix),
                n_question,
                everywhere(n_middle),
                n_context,
                everywhere(len(template.suffix)),
            ],
            axis=1,
        )
        return starts, sizes
