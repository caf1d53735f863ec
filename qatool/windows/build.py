"""Build the windows of a shard from its texts; each distinct text is tokenised once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qatool.windows.assemble import WindowedExamples
from qatool.windows.cut import WindowSize, cut_windows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qatool.windows.tokenizer import PairTokenizer, TokenizedTexts


def build_windows(
    questions: Sequence[str],
    contexts: Sequence[str],
    *,
    tokenizer: PairTokenizer,
    size: WindowSize,
    words: bool = False,
    question_offsets: bool = False,
) -> WindowedExamples:
    """Tokenise ``n`` examples and cut them into windows; example ``i`` asks ``questions[i]`` of ``contexts[i]``.

    :param words: whether to find the word of each context token, too
    :param question_offsets: whether to find the offsets of question tokens, too
    """
    question_index, distinct_questions = distinct(questions)
    context_index, distinct_contexts = distinct(contexts)
    asked = tokenizer.tokenize(distinct_questions, offsets=question_offsets)
    read = tokenizer.tokenize(distinct_contexts, words=words)
    return cut_examples(
        asked, read, question_index=question_index, context_index=context_index, tokenizer=tokenizer, size=size
    )


def cut_examples(
    asked: TokenizedTexts,
    read: TokenizedTexts,
    *,
    question_index: NDArray[np.int64],
    context_index: NDArray[np.int64],
    tokenizer: PairTokenizer,
    size: WindowSize,
) -> WindowedExamples:
    """Cut ``n`` tokenised examples into windows.

    Example ``i`` asks question ``question_index[i]`` of context ``context_index[i]``.

    :param asked: the distinct questions
    :param read: the distinct contexts
    :param tokenizer: the tokenizer of both, used only for its special tokens
    """
    question_lengths = np.minimum(asked.lengths[question_index], size.question_budget)
    return WindowedExamples(
        questions=asked,
        contexts=read,
        question_index=question_index,
        context_index=context_index,
        question_lengths=question_lengths,
        question_is_cut=asked.lengths[question_index] > question_lengths,
        windows=cut_windows(
            question_lengths,
            read.lengths[context_index],
            max_length=size.max_length,
            stride=size.stride,
            n_special=tokenizer.template.n_special,
        ),
        template=tokenizer.template,
        pad_token_id=tokenizer.pad_token_id,
        uses_token_types=tokenizer.uses_token_types,
    )


def distinct(texts: Iterable[str]) -> tuple[NDArray[np.int64], list[str]]:
    """Return the index of each text among the distinct texts, and those in order of first appearance."""
    places: dict[str, int] = {}
    index = [places.setdefault(text, len(places)) for text in texts]
    return np.array(index, dtype=np.int64), list(places)
