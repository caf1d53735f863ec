"""Passages of long documents: the model reads parts of windows, and answers are told as those of the windows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from backendhelpers import ArithmeticBackend
from extractionhelpers import extractor, shard_of
from tokenizerhelpers import FAMILIES, pair_tokenizer, questions, texts

from qatool.extraction.answering import setup
from qatool.options import ExtractOptions
from qatool.windows.choose import AUTO_PASSAGES, SHORT_WINDOWS
from qatool.windows.passages import WHOLE_TOKENS

LONG = [text for text in texts() if len(text.split()) > 3_000]
PAIRS = [*zip(questions()[:6], LONG * 3, strict=False), ("What is gone?", "Short. The money is gone.")]


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_of_passages_stand_in_their_windows(family: str) -> None:
    backend = ArithmeticBackend()
    one = replace(
        extractor(pair_tokenizer(family), backend, max_length=384, stride=128, top_k=5, batch_tokens=4_000),
        max_windows="auto",
    )
    prepared = one.prepare(shard_of(PAIRS))
    rows = one.answer(prepared).table.to_pylist()
    everything = replace(one, max_windows="all").prepare(shard_of(PAIRS)).examples
    windows, offsets = everything.windows, everything.contexts.offset_mapping
    assert offsets is not None
    every = np.arange(len(windows))
    first = offsets[everything.context_token(every, np.zeros_like(every)), 0]
    last = offsets[everything.context_token(every, windows.context_length - 1), 1]
    read = sum(row["n_windows_read"] for row in rows)
    assert read == sum(count for count, _ in backend.batches) == len(prepared.examples.windows)
    longest = WHOLE_TOKENS + 16 + everything.template.n_special
    assert all(width <= longest for _, width in backend.batches)
    for example, (row, (_, context)) in enumerate(zip(rows, PAIRS, strict=True)):
        assert row["n_windows"] == windows.n_windows[example]
        assert row["n_windows_read"] <= min(AUTO_PASSAGES + 1, row["n_windows"])
        for found in row["candidates"]:
            assert context[found["answer_start"] : found["answer_end"]] == found["answer"]
            number = windows.boundaries[example] + found["window"]
            assert first[number] <= found["answer_start"] < found["answer_end"] <= last[number]
    assert rows[0]["n_windows"] > SHORT_WINDOWS


def test_other_rules_are_other_work(tiny_model, monkeypatch) -> None:
    options = ExtractOptions(inputs=("-",), output="-", model=str(tiny_model), backend="constant")
    before = setup.load_setup(options)
    assert setup.load_setup(options).resolved.identity == before.resolved.identity
    monkeypatch.setattr(setup.choose, "RULES", setup.choose.RULES + 1)
    assert setup.load_setup(options).resolved.identity != before.resolved.identity
