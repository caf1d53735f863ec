"""The tokenizer's own overflow, and qatool's windows, in one form to compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from qatool.windows.build import build_windows
from qatool.windows.cut import WindowSize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qatool.windows.assemble import WindowedExamples
    from qatool.windows.tokenizer import PairTokenizer

UNCUT = 10_000


class OneWindow(NamedTuple):
    """A window as lists of plain numbers."""

    example: int
    input_ids: list[int]
    token_type_ids: list[int] | None
    offsets: list[tuple[int, int]]
    """Of the context tokens only."""
    context_first: int


def reference_windows(
    tokenizer: Any, questions: Sequence[str], contexts: Sequence[str], *, max_length: int, stride: int
) -> list[OneWindow]:
    """Cut windows by the tokenizer's own truncation, without its windows that hold no context."""
    encoded = tokenizer(
        list(questions),
        list(contexts),
        truncation="only_second",
        max_length=max_length,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    found = []
    for row, example in enumerate(encoded["overflow_to_sample_mapping"]):
        inside = [at for at, sequence in enumerate(encoded.sequence_ids(row)) if sequence == 1]
        types = encoded["token_type_ids"][row] if "token_type_ids" in encoded else None
        offsets = [tuple(encoded["offset_mapping"][row][at]) for at in inside]
        if inside:
            assert inside == list(range(inside[0], inside[-1] + 1))
            found.append(OneWindow(example, encoded["input_ids"][row], types, offsets, inside[0]))
    return found


def windowed(
    tokenizer: PairTokenizer,
    questions: Sequence[str],
    contexts: Sequence[str],
    *,
    max_length: int,
    stride: int,
    question_budget: int = UNCUT,
) -> WindowedExamples:
    size = WindowSize(max_length=max_length, stride=stride, question_budget=question_budget)
    return build_windows(questions, contexts, tokenizer=tokenizer, size=size)


def our_windows(examples: WindowedExamples, *, at_once: int = 7) -> list[OneWindow]:
    """Assemble all windows, some at a time and longest first, and take the padding off again."""
    found: dict[int, OneWindow] = {}
    order = np.argsort(-examples.lengths, kind="stable")
    for first in range(0, len(order), at_once):
        chosen = order[first : first + at_once]
        batch = examples.assemble(chosen)
        np.testing.assert_array_equal(batch.lengths, examples.lengths[chosen])
        padding = np.arange(batch.input_ids.shape[1]) >= batch.lengths[:, None]
        assert (batch.input_ids[padding] == examples.pad_token_id).all()
        offsets = examples.contexts.offset_mapping
        assert offsets is not None
        for row, window in enumerate(chosen.tolist()):
            length = int(batch.lengths[row])
            tokens = examples.context_token(
                np.full(batch.context_length[row], window), np.arange(batch.context_length[row])
            )
            types = batch.token_type_ids
            found[window] = OneWindow(
                int(examples.windows.overflow_to_sample_mapping[window]),
                batch.input_ids[row, :length].tolist(),
                None if types is None else types[row, :length].tolist(),
                [(int(start), int(end)) for start, end in offsets[tokens]],
                int(batch.context_first[row]),
            )
            if types is not None:
                assert (types[row, length:] == 0).all()
    return [found[window] for window in sorted(found)]
