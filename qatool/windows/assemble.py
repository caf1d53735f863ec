"""Materialise windows as padded batches for a model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from qatool.windows.cut import Windows
from qatool.windows.ragged import Ints, ranges
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
    """``(n,)``: tokens after the question budget."""
    windows: Windows
    template: PairTemplate
    pad_token_id: int
    uses_token_types: bool

    @cached_property
    def _pool(self) -> NDArray[np.int32]:
        """Every token a window can hold: the special ones, all questions, all contexts."""
        template = self.template
        special = np.array(template.prefix + template.middle + template.suffix, dtype=np.int32)
        return np.concatenate([special, self.questions.input_ids, self.contexts.input_ids])

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
        lengths = sizes.sum(axis=1)
        width = int(lengths.max(initial=0))
        filled = np.arange(width) < lengths[:, None]
        input_ids = np.full(filled.shape, self.pad_token_id, dtype=np.int32)
        input_ids[filled] = self._pool[ranges(starts.ravel(), sizes.ravel())]
        token_type_ids = None
        if self.uses_token_types:
            token_type_ids = np.zeros(filled.shape, dtype=np.int32)
            types = np.tile(np.array(template.type_ids, dtype=np.int32), len(chosen))
            token_type_ids[filled] = np.repeat(types, sizes.ravel())
        return WindowBatch(
            input_ids=input_ids,
            token_type_ids=token_type_ids,
            lengths=lengths,
            context_first=n_prefix + n_question + n_middle,
            context_length=n_context,
            null_position=lengths - 1 if template.null_in_suffix else np.zeros_like(lengths),
        )
