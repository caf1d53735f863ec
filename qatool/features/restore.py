"""Restore the tokens of questions and contexts from the windows on disk, without tokenising again.

The windows of an example cover its context; each but the last has ``room - stride`` tokens that the next one lacks.
So the context's tokens can be joined from its windows, and cutting them again gives the same windows. All code that
works on windows cut from texts therefore works on stored features, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qatool.windows.build import cut_examples, distinct
from qatool.windows.ragged import Ints, offsets_of, ranges
from qatool.windows.tokenizer import TokenizedTexts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qatool.windows.assemble import WindowedExamples
    from qatool.windows.cut import WindowSize
    from qatool.windows.tokenizer import PairTokenizer


class UnlikeTextsError(Exception):
    """The windows are not those that would be cut from the texts."""


@dataclass(frozen=True, kw_only=True)
class StoredWindows:
    """``w`` windows as stored on disk: the tokens of window ``i`` are at ``boundaries[i]:boundaries[i + 1]``."""

    row: NDArray[np.int64]
    """``(w,)``: row of each window's example among all examples, ascending (``overflow_to_sample_mapping``)."""
    window: NDArray[np.int32]
    """``(w,)``: number of the window within its example, from 0."""
    context_start: NDArray[np.int64]
    """``(w,)``: position of the first context token in the window."""
    context_end: NDArray[np.int64]
    """``(w,)``: position one past the last context token in the window."""
    boundaries: NDArray[np.int64]
    """``(w + 1,)``"""
    input_ids: NDArray[np.int32]
    """``(tokens,)``"""
    offset_mapping: NDArray[np.int32]
    """``(tokens, 2)``: range of each token in its own text; (0, 0) for special tokens."""
    token_type_ids: NDArray[np.int8] | None
    """``(tokens,)``, or ``None`` if the model has none."""

    def __len__(self) -> int:
        return len(self.row)

    def take(self, chosen: Ints) -> StoredWindows:
        """Return the windows ``chosen (c,)``, in that order."""
        lengths = np.diff(self.boundaries)[chosen]
        tokens = ranges(self.boundaries[chosen], lengths)
        return StoredWindows(
            row=self.row[chosen],
            window=self.window[chosen],
            context_start=self.context_start[chosen],
            context_end=self.context_end[chosen],
            boundaries=offsets_of(lengths),
            input_ids=self.input_ids[tokens],
            offset_mapping=self.offset_mapping[tokens],
            token_type_ids=None if self.token_type_ids is None else self.token_type_ids[tokens],
        )

    @classmethod
    def joined(cls, parts: Sequence[StoredWindows]) -> StoredWindows:
        """Concatenate the windows of parts."""
        types = [part.token_type_ids for part in parts if part.token_type_ids is not None]
        none = np.empty(0, dtype=np.int64)
        return cls(
            row=np.concatenate([none, *(part.row for part in parts)]),
            window=np.concatenate([none.astype(np.int32), *(part.window for part in parts)]),
            context_start=np.concatenate([none, *(part.context_start for part in parts)]),
            context_end=np.concatenate([none, *(part.context_end for part in parts)]),
            boundaries=offsets_of(np.concatenate([none, *(np.diff(part.boundaries) for part in parts)])),
            input_ids=np.concatenate([none.astype(np.int32), *(part.input_ids for part in parts)]),
            offset_mapping=np.concatenate([np.empty((0, 2), np.int32), *(part.offset_mapping for part in parts)]),
            token_type_ids=np.concatenate(types) if types and len(types) == len(parts) else None,
        )


def restore_windows(
    stored: StoredWindows,
    questions: Sequence[str],
    contexts: Sequence[str],
    *,
    rows: Ints,
    asked_anew: NDArray[np.bool_],
    tokenizer: PairTokenizer,
    size: WindowSize,
    words: bool = False,
) -> WindowedExamples:
    """Return what :func:`qatool.windows.build.build_windows` returns for the same ``n`` examples.

    Only what features do not hold is tokenised: questions that have changed, and the words of context tokens.

    :param stored: all windows of the examples
    :param rows: ``(n,)``: row of each example, ascending
    :param asked_anew: ``(n,)``: whether the question's spelling has changed since the windows were cut
    :param tokenizer: the tokenizer that the windows were made with
    :param size: the sizes by which the windows were cut
    :param words: whether to find the word of each context token, too
    :raises UnlikeTextsError: the windows are not those that would be cut from the texts
    """
    question_index, distinct_questions = distinct(questions)
    context_index, distinct_contexts = distinct(contexts)
    sample = np.searchsorted(rows, stored.row)
    pieces = _Pieces.of(stored, np.bincount(sample, minlength=len(rows)), tokenizer)
    if asked_anew.any():
        asked = tokenizer.tokenize(distinct_questions)
    else:
        asked = pieces.questions(distinct_questions, question_index)
    if words:
        read = tokenizer.tokenize(distinct_contexts, words=True)
    else:
        read = pieces.contexts(distinct_contexts, context_index, stride=size.stride)
    examples = cut_examples(
        asked, read, question_index=question_index, context_index=context_index, tokenizer=tokenizer, size=size
    )
    _check(examples, stored, sample, ~asked_anew)
    return replace(examples, question_is_cut=_are_cut(asked, size.question_budget)[question_index])


@dataclass(frozen=True, kw_only=True)
class _Pieces:
    """The windows of ``n`` examples, with what is needed to find questions and contexts in them."""

    stored: StoredWindows
    n_windows: NDArray[np.int64]
    """``(n,)``: number of windows of each example."""
    n_prefix: int
    """Number of special tokens before the question."""
    n_middle: int
    """Number of special tokens between question and context."""

    @classmethod
    def of(cls, stored: StoredWindows, n_windows: NDArray[np.int64], tokenizer: PairTokenizer) -> _Pieces:
        template = tokenizer.template
        found = cls(stored=stored, n_windows=n_windows, n_prefix=len(template.prefix), n_middle=len(template.middle))
        fits = (stored.context_start >= found.n_prefix + found.n_middle).all()
        fits &= (stored.context_end > stored.context_start).all()
        fits &= (stored.context_end <= np.diff(stored.boundaries)).all()
        if not fits:
            raise UnlikeTextsError("a window has no room for its texts")
        return found

    def questions(self, texts: Sequence[str], index: Ints) -> TokenizedTexts:
        """Return the tokens of distinct questions; example ``i`` asks ``texts[index[i]]``."""
        source = self._sources(index, len(texts))
        first = offsets_of(self.n_windows)[source[source >= 0]]
        lengths = np.zeros(len(texts), dtype=np.int64)
        lengths[source >= 0] = self.stored.context_start[first] - self.n_prefix - self.n_middle
        tokens = ranges(self.stored.boundaries[first] + self.n_prefix, lengths[source >= 0])
        return self._texts(texts, tokens, lengths)

    def contexts(self, texts: Sequence[str], index: Ints, *, stride: int) -> TokenizedTexts:
        """Return the tokens of distinct contexts; those of example ``i`` are ``texts[index[i]]``."""
        stored = self.stored
        source = self._sources(index, len(texts))
        n_windows = np.where(source >= 0, self.n_windows[source], 0)
        windows = ranges(offsets_of(self.n_windows)[:-1][source], n_windows)
        sizes = stored.context_end[windows] - stored.context_start[windows]
        is_last = np.zeros(len(windows), dtype=bool)
        is_last[offsets_of(n_windows)[1:][n_windows > 0] - 1] = True
        sizes = np.where(is_last, sizes, np.maximum(sizes - stride, 0))
        lengths = np.bincount(np.repeat(np.arange(len(texts)), n_windows), weights=sizes, minlength=len(texts))
        tokens = ranges(stored.boundaries[windows] + stored.context_start[windows], sizes)
        return self._texts(texts, tokens, lengths.astype(np.int64))

    def _sources(self, index: Ints, count: int) -> NDArray[np.int64]:
        """Return, for each of ``count`` distinct texts, the first example with windows that has it, or ``-1``."""
        source = np.full(count, -1, dtype=np.int64)
        having = np.flatnonzero(self.n_windows > 0)[::-1]
        source[index[having]] = having
        return source

    def _texts(self, texts: Sequence[str], tokens: Ints, lengths: Ints) -> TokenizedTexts:
        offset_mapping = self.stored.offset_mapping[tokens]
        longest = np.repeat(np.fromiter(map(len, texts), np.int64, len(texts)), lengths)
        if (offset_mapping < 0).any() or (offset_mapping > longest[:, None]).any():
            raise UnlikeTextsError("a token stands outside its text")
        return TokenizedTexts(
            texts=texts,
            input_ids=self.stored.input_ids[tokens],
            offsets=offsets_of(lengths),
            offset_mapping=offset_mapping,
        )


def _are_cut(questions: TokenizedTexts, budget: int) -> NDArray[np.bool_]:
    """Return which questions have more tokens than the budget: ``(questions,)``.

    Questions on disk are already cut: one that fills the budget was longer if its text goes on after the last token.
    This misses a question cut within its last character, whose bytes may be tokens of their own, or before blanks
    that are tokens; the result is used for counting only.
    """
    cut = questions.lengths > budget
    for place in np.flatnonzero(questions.lengths == budget).tolist():
        offsets = questions.offset_mapping
        end = 0 if offsets is None else int(offsets[questions.offsets[place + 1] - 1, 1])
        cut[place] = bool(questions.texts[place][end:].strip())
    return cut


def _check(examples: WindowedExamples, stored: StoredWindows, sample: Ints, same: NDArray[np.bool_]) -> None:
    """Check that the windows just cut equal those on disk, for the examples where ``same (n,)`` is true.

    :raises UnlikeTextsError: they differ
    """
    windows = examples.windows.only(same[examples.windows.overflow_to_sample_mapping])
    cut = replace(examples, windows=windows).unpadded()
    kept = stored.take(np.flatnonzero(same[sample]))
    pairs: list[tuple[Ints, Ints]] = [
        (windows.overflow_to_sample_mapping, sample[same[sample]]),
        (windows.window, kept.window),
        (cut.boundaries, kept.boundaries),
        (cut.context_start, kept.context_start),
        (cut.context_end, kept.context_end),
        (cut.input_ids, kept.input_ids),
        (cut.offset_mapping, kept.offset_mapping),
    ]
    if cut.token_type_ids is not None and kept.token_type_ids is not None:
        pairs.append((cut.token_type_ids, kept.token_type_ids))
    if not all(np.array_equal(ours, theirs) for ours, theirs in pairs):
        raise UnlikeTextsError("other windows would be cut")
