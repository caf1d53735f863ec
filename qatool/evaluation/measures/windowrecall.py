"""Count how often the windows chosen from long documents contain the answer, for several numbers of windows read."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from qatool.files.examples.labels import LabelError, place_answer, read_answers
from qatool.windows.build import build_windows
from qatool.windows.choose import SHORT_WINDOWS, MaxWindows, choose_windows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from qatool.schema import Example
    from qatool.windows.assemble import WindowedExamples
    from qatool.windows.cut import WindowSize
    from qatool.windows.tokenizer import PairTokenizer

READ: tuple[MaxWindows, ...] = (1, 2, 3, 4, 5, 6, 8, 12, 16, "auto")
"""Values of ``--max-windows`` to try."""
_CHUNK = 64
"""Examples in memory at a time."""
Spans = list[tuple[int, int]]


def window_recall(examples: Iterable[Example], *, tokenizer: PairTokenizer, size: WindowSize) -> dict[str, Any]:
    """Return how often a window that is read contains an accepted answer whole, for each number of windows read.

    Only answerable questions about long documents count, as short ones are always read whole. Bad examples, and those
    with a label that does not fit its context, are skipped.

    :returns: ``questions``: their number; ``windows``: their mean number of windows; ``auto_windows``: the mean
        number of windows or passages that ``auto`` reads; ``read``: share of questions with a hit, in per cent, by
        ``--max-windows``
    """
    hits = np.zeros(len(READ), dtype=np.int64)
    questions = windows = auto_windows = 0
    labelled = ((example, spans) for example in examples if (spans := _spans(example)))
    while chunk := list(islice(labelled, _CHUNK)):
        windowed = build_windows(
            [example.question or "" for example, _ in chunk],
            [example.context or "" for example, _ in chunk],
            tokenizer=tokenizer,
            size=size,
        )
        is_long = windowed.windows.n_windows > SHORT_WINDOWS
        questions += int(is_long.sum())
        windows += int(windowed.windows.n_windows[is_long].sum())
        if is_long.any():
            answers = [spans for _, spans in chunk]
            for place, count in enumerate(READ):
                chosen = choose_windows(windowed, count, tokenizer).examples
                hits[place] += int((_holds(chosen, answers) & is_long).sum())
                if count == "auto":
                    auto_windows += int(chosen.windows.n_windows[is_long].sum())
    return {
        "questions": questions,
        "windows": windows / questions if questions else 0.0,
        "auto_windows": auto_windows / questions if questions else 0.0,
        "read": {
            str(count): 100.0 * int(hit) / questions for count, hit in zip(READ, hits, strict=True) if questions
        },
    }


def _spans(example: Example) -> Spans:
    """Return the ranges of an example's accepted answers in its context, in code points; none if it is unusable."""
    if example.error is not None or example.is_odd:
        return []
    try:
        given = read_answers(example.kept) or []
        placed = [place_answer(example.context or "", text, start) for text, start in given if text]
    except LabelError:
        return []
    return [(answer.start, answer.end) for answer in placed]


def _holds(examples: WindowedExamples, answers: Sequence[Spans]) -> NDArray[np.bool_]:
    """Return, for each example, whether one of its windows covers one of its answers: ``(n,)``."""
    windows, offsets = examples.windows, examples.contexts.offset_mapping
    if offsets is None:
        raise ValueError("offsets are needed of contexts")
    everything = np.arange(len(windows))
    first = offsets[examples.context_token(everything, np.zeros_like(everything)), 0]
    last = offsets[examples.context_token(everything, windows.context_length - 1), 1]
    found = np.zeros(len(answers), dtype=bool)
    for window, sample in enumerate(windows.overflow_to_sample_mapping.tolist()):
        found[sample] |= any(first[window] <= start and last[window] >= end for start, end in answers[sample])
    return found
