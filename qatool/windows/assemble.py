"""Materialise windows, as padded batches for a model or unpadded for features on disk."""

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
    """A batch of ``b`` windows of similar length, padded on the right to ``t`` tokens."""

    input_ids: NDArray[np.int32]
    """``(b, t)``: token ids, padding included."""
    token_type_ids: NDArray[np.int32] | None
    """``(b, t)``: token types, or ``None`` if the model has none."""
    lengths: NDArray[np.int64]
    """``(b,)``: tokens of each window, without padding."""
    context_first: NDArray[np.int64]
    """``(b,)``: column of the first context token."""
    context_length: NDArray[np.int64]
    """``(b,)``: context tokens of each window."""
    null_position: NDArray[np.int64]
    """``(b,)``: column of the classification token."""

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def longest_context(self) -> int:
        """The number of context tokens in the window that has most of them."""
        return int(self.context_length.max(initial=0))


@dataclass(frozen=True, kw_only=True)
class UnpaddedWindows:
    """``w`` windows as ragged arrays: the tokens of window ``i`` are at ``boundaries[i]:boundaries[i + 1]``."""

    input_ids: NDArray[np.int32]
    """``(tokens,)``"""
    token_type_ids: NDArray[np.int8] | None
    """``(tokens,)``, or ``None`` if the model has none."""
    offset_mapping: NDArray[np.int32]
    """``(tokens, 2)``: range of each token in its own text, question or context; (0, 0) for special tokens."""
    boundaries: NDArray[np.int64]
    """``(w + 1,)``"""
    context_start: NDArray[np.int64]
    """``(w,)``: position of the first context token in the window."""
    context_end: NDArray[np.int64]
    """``(w,)``: position one past the last context token in the window."""
    null_position: NDArray[np.int64]
    """``(w,)``: position of the classification token."""


@dataclass(frozen=True, kw_only=True)
class WindowedExamples:
    """The ``n`` examples of a shard: distinct questions and contexts as tokens, and the ``w`` windows cut from them.

    Example ``i`` asks ``questions[question_index[i]]`` of ``contexts[context_index[i]]``.
    """

    questions: TokenizedTexts
    contexts: TokenizedTexts
    question_index: NDArray[np.int64]
    """``(n,)``"""
    context_index: NDArray[np.int64]
    """``(n,)``"""
    question_lengths: NDArray[np.int64]
    """``(n,)``: question tokens in each window, at most the question budget."""
    question_is_cut: NDArray[np.bool_]
    """``(n,)``: whether the question was longer than the question budget."""
    windows: Windows
    template: PairTemplate
    pad_token_id: int
    uses_token_types: bool

    @cached_property
    def pool(self) -> NDArray[np.int32]:
        """All tokens of which windows are made, flat: special tokens, then all questions, then all contexts."""
        template = self.template
        special = np.array(template.prefix + template.middle + template.suffix, dtype=np.int32)
        return np.concatenate([special, self.questions.input_ids, self.contexts.input_ids])

    @cached_property
    def type_pool(self) -> NDArray[np.int8]:
        """The token type of each token of :attr:`pool`."""
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
        """Return the flat index within ``contexts`` of tokens given by window and position in its context part."""
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
        """Materialise all windows, one after the other, with the offsets of their tokens.

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
        """Return the starts in the pool and the lengths of the five pieces of the ``chosen (b,)`` windows.

        The pieces are prefix, question, middle, context and suffix.

        :returns: starts ``(b, 5)`` and lengths ``(b, 5)``, in tokens
        """
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
