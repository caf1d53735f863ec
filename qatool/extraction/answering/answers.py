"""Turn ranked spans into rows of ``answers.parquet``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from qatool.errors import InputError
from qatool.schema import candidate_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from qatool.spans.candidates import RankedSpans
    from qatool.windows.assemble import WindowedExamples


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The rule by which an example is left without an answer.

    :param always_answer: whether the best span is always given as the answer
    :param no_answer_threshold: without ``always_answer``, an example has no answer when its ``no_answer_score``
        exceeds this
    """

    always_answer: bool
    no_answer_threshold: float


def pair_table(spans: RankedSpans, examples: WindowedExamples, decision: Decision) -> pa.Table:
    """Return the answer columns of each distinct pair of question and context.

    :returns: ``n + 1`` rows: one for each pair, and a last one for examples whose question or context is empty
    """
    contexts = [examples.contexts.texts[i] for i in examples.context_index]
    candidates = _candidates(spans, contexts)
    first = spans.boundaries[:-1]
    found = np.diff(spans.boundaries) > 0
    unread = np.isnan(spans.no_answer_score)
    no_answer = np.where(unread, np.float32(1), spans.no_answer_score)
    decided = found & (decision.always_answer | (no_answer <= decision.no_answer_threshold))
    best, answer = _nullable(first, found), _nullable(first, decided)
    flat = candidates.flatten()
    columns = {name: flat.field(name) for name in ("answer", "answer_start", "answer_end")}
    table = {name: column.take(answer) for name, column in columns.items()}
    table["score"] = flat.field("score").take(best)
    table["no_answer_score"] = pa.array(no_answer, pa.float32())
    table["window"] = flat.field("window").take(best)
    table["n_windows"] = pa.array(examples.windows.n_cut, pa.int32())
    table["n_windows_read"] = pa.array(examples.windows.n_windows, pa.int32())
    table["candidates"] = candidates
    pairs = pa.table(table)
    nothing: dict[str, Any] = dict.fromkeys(pairs.column_names)
    nothing |= {"no_answer_score": 1.0, "n_windows": 0, "n_windows_read": 0, "candidates": []}
    return pa.concat_tables([pairs, pa.Table.from_pylist([nothing], schema=pairs.schema)]).combine_chunks()


def _candidates(spans: RankedSpans, contexts: list[str]) -> pa.ListArray:
    """Return the ``candidates`` column, which holds a list of structs for each pair."""
    counts = np.diff(spans.boundaries)
    pair = np.repeat(np.arange(len(counts)), counts)
    texts = [
        contexts[i][start:end]
        for i, start, end in zip(pair.tolist(), spans.start.tolist(), spans.end.tolist(), strict=True)
    ]
    struct = candidate_type()
    values = [texts, spans.start, spans.end, spans.score, spans.span_logit, spans.null_logit, spans.window]
    arrays = [pa.array(column, field.type) for column, field in zip(values, struct.fields, strict=True)]
    if isinstance(arrays[0], pa.ChunkedArray):
        # One token may stand for a word of any length.
        raise InputError(
            f"the answers to {len(counts):,} questions of a shard hold more than 2 GiB of text, which no part can; "
            "lower --shard-rows or --top-k, or leave documents with endless words out"
        )
    return pa.ListArray.from_arrays(
        pa.array(spans.boundaries, pa.int32()), pa.StructArray.from_arrays(arrays, fields=struct.fields)
    )


def _nullable(indices: NDArray[np.int64], valid: NDArray[np.bool_]) -> pa.Array:
    """Return the indices as an array for ``take``, with nulls where ``valid`` is false."""
    return pa.array(indices, pa.int64(), mask=~valid)


def snippets(contexts: Sequence[str | None], answers: pa.Table, margin: int) -> pa.Array:
    """Return each answer with ``margin`` characters of context on either side, null where there is no answer.

    :param answers: a table with the columns ``answer_start`` and ``answer_end``, one row for each context
    """
    bounds = zip(contexts, answers["answer_start"].to_pylist(), answers["answer_end"].to_pylist(), strict=True)
    texts = [
        None if context is None or start is None else context[max(0, start - margin) : end + margin]
        for context, start, end in bounds
    ]
    return pa.array(texts, pa.string())
