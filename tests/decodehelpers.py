"""The ways to decode, written slowly from their descriptions, and one example's windows to use them on."""

from __future__ import annotations

import math
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from backendhelpers import ArithmeticBackend, arithmetic_logits
from spanhelpers import legal_spans, log_sum_exp, script_spans
from tokenizerhelpers import pair_tokenizer

from qatool.spans.characters import ContextCharacters
from qatool.spans.decode import Decoder
from qatool.spans.native import LengthCost
from qatool.spans.readwindows import ReadWindows
from qatool.windows.build import build_windows
from qatool.windows.cut import WindowSize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qatool.windows.assemble import WindowedExamples


class Found(NamedTuple):
    """One candidate of an example."""

    start: int
    end: int
    score: float
    span_logit: float
    null_logit: float
    window: int


class Group(NamedTuple):
    """A span of characters in a window, from the first to the last token that may stand for its ends."""

    start: int
    end: int
    logit: float
    tokens: int


@dataclass(frozen=True)
class SlowWindow:
    """A window of one example as plain lists, its context tokens only."""

    logits: np.ndarray
    first: int
    starts: list[float]
    ends: list[float]
    offsets: list[tuple[int, int]]
    words: list[int]
    null: tuple[float, float]


def windows_of(
    family: str, questions: Sequence[str], contexts: Sequence[str], *, max_length: int, stride: int
) -> WindowedExamples:
    size = WindowSize(max_length=max_length, stride=stride, question_budget=64)
    return build_windows(questions, contexts, tokenizer=pair_tokenizer(family), size=size, words=True)


def read(examples: WindowedExamples, decoder: Decoder, order: np.ndarray) -> ReadWindows:
    """Search all windows in one batch; ``order`` is that of all windows."""
    characters = ContextCharacters.of(examples.contexts)
    batch = examples.assemble(order)
    groups = characters.of_windows(examples, order) if decoder.shares_characters else None
    spans = decoder.search(*ArithmeticBackend().logits(batch), batch, groups)
    return ReadWindows(examples=examples, characters=characters, spans=spans)


def slow_windows(examples: WindowedExamples, example: int, *, words: bool = True) -> list[SlowWindow]:
    found = []
    tokens = examples.contexts
    for row in range(len(examples.windows)):
        if examples.windows.overflow_to_sample_mapping[row] != example:
            continue
        batch = examples.assemble(examples.windows.boundaries[:1] + row)
        logits = arithmetic_logits(batch.input_ids[0])
        first, length = int(batch.context_first[0]), int(batch.context_length[0])
        at = int(tokens.offsets[examples.context_index[example]]) + int(examples.windows.context_start[row])
        null = int(batch.null_position[0])
        starts, ends = logits[:, first : first + length].astype(float).tolist()
        found.append(
            SlowWindow(
                logits=logits,
                first=first,
                starts=starts,
                ends=ends,
                offsets=[(int(a), int(b)) for a, b in tokens.offset_mapping[at : at + length]],
                words=tokens.word_ids[at : at + length].tolist() if words else [],
                null=(float(logits[0, null]), float(logits[1, null])),
            )
        )
    return found


def whole(context: str, start: int, end: int) -> tuple[int, int]:
    """Characters without white space around them, and with the combining marks that belong to them."""
    while start < end and context[start].isspace():
        start += 1
    while end > start and context[end - 1].isspace():
        end -= 1
    if start < end:
        while joins(context, start):
            start -= 1
        while end < len(context) and joins(context, end):
            end += 1
    return start, end


def joins(context: str, position: int) -> bool:
    """Whether a character belongs to the one before it: combining marks and the skin tones of emoji do."""
    is_mark = (
        unicodedata.category(context[position]).startswith("M") or "\U0001f3fb" <= context[position] <= "\U0001f3ff"
    )
    return is_mark and position > 0 and not context[position - 1].isspace()


def character_spans(window: SlowWindow, context: str, longest: int) -> list[Group]:
    """Every legal span of characters of a window, each once: tokens of the same characters act as one."""
    by_start: dict[int, list[int]] = defaultdict(list)
    by_end: dict[int, list[int]] = defaultdict(list)
    for token, offsets in enumerate(window.offsets):
        start, end = whole(context, *offsets)
        if start < end:
            by_start[start].append(token)
            by_end[end].append(token)
    found = []
    for start, first_tokens in by_start.items():
        for end, last_tokens in by_end.items():
            tokens = last_tokens[-1] - first_tokens[0] + 1
            if 1 <= tokens <= longest and start < end:
                logit = max(window.starts[t] for t in first_tokens) + max(window.ends[t] for t in last_tokens)
                found.append(Group(start, end, logit, tokens))
    return found


def slow_native(
    windows: list[SlowWindow],
    context: str,
    *,
    top_k: int,
    longest: int,
    prior: Sequence[float] | None = None,
    slope: float = 1.0,
    bias: float = 0.0,
) -> tuple[list[Found], float]:
    """The formula at the head of ``qatool/spans/native.py``; also the score of "no answer"."""
    cost = LengthCost(longest)
    best: dict[tuple[int, int], tuple[float, Found]] = {}
    margins = []
    for number, window in enumerate(windows):
        null = sum(window.null)
        for span in character_spans(window, context, longest):
            margin = span.logit - null - cost(np.array(span.tokens)) + (prior[number] if prior else 0.0)
            margins.append(margin)
            held = best.get(span[:2])
            if held is None or margin > held[0]:
                best[span[:2]] = margin, Found(span.start, span.end, 0.0, span.logit, null, number)
    mass = log_sum_exp(margins) if margins else -math.inf
    answerable = 1 / (1 + math.exp(-(slope * mass + bias)))
    pool = sorted(best.values(), key=lambda pair: -pair[0])[: max(20, top_k + 10)]
    by_text: dict[str, float] = defaultdict(float)
    for margin, span in pool:
        by_text[context[span.start : span.end].casefold()] += answerable * math.exp(margin - mass)
    first, further = [], []
    seen = set()
    for margin, span in pool:
        text = context[span.start : span.end].casefold()
        if text in seen:
            further.append(span._replace(score=answerable * math.exp(margin - mass)))
        else:
            first.append(span._replace(score=min(by_text[text], 1.0)))
        seen.add(text)
    kept = (sorted(first, key=lambda s: -s.score) + further)[:top_k]
    return sorted(kept, key=lambda s: -s.score), 1 - answerable


def slow_pipeline(windows: list[SlowWindow], context: str, *, top_k: int, longest: int) -> tuple[list[Found], float]:
    """The pipeline of transformers, from its description in PEERS.md."""
    merged: dict[str, Found] = {}
    nulls = []
    for number, window in enumerate(windows):
        mass = log_sum_exp([*window.starts, window.null[0]]) + log_sum_exp([*window.ends, window.null[1]])
        nulls.append(math.exp(sum(window.null) - mass))
        for span in legal_spans(window.starts, window.ends, longest)[: 2 * top_k + 10]:
            first, last = span.start, span.end - 1
            if -1 not in (window.words[first], window.words[last]):
                first = window.words.index(window.words[first])
                last = len(window.words) - 1 - window.words[::-1].index(window.words[last])
            start, end = window.offsets[first][0], window.offsets[last][1]
            text = context[start:end].lower()
            seen = merged.get(text, Found(start, end, 0.0, span.logit, sum(window.null), number))
            merged[text] = seen._replace(score=seen.score + math.exp(span.logit - mass))
    return sorted(merged.values(), key=lambda one: -one.score)[:top_k], min(nulls, default=math.nan)


def slow_script(windows: list[SlowWindow], *, top_k: int, longest: int) -> tuple[list[Found], float]:
    """``postprocess_qa_predictions`` of the SQuAD script; "no answer" as a sigmoid of its difference."""
    found = []
    null = min((sum(window.null) for window in windows), default=math.nan)
    for number, window in enumerate(windows):
        for span in script_spans(*window.logits, window.first, len(window.starts), longest):
            start, end = window.offsets[span.start][0], window.offsets[span.end - 1][1]
            found.append(Found(start, end, 0.0, span.logit, null, number))
    found.sort(key=lambda span: -span.span_logit)
    total = log_sum_exp(span.span_logit for span in found[:20])
    distinct: dict[tuple[int, int], Found] = {}
    for span in found:
        distinct.setdefault(span[:2], span._replace(score=math.exp(span.span_logit - total)))
    best = found[0].span_logit if found else -1e4
    return list(distinct.values())[:top_k], 1 / (1 + math.exp(-max(-80, min(80, null - best))))
