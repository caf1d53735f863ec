"""``context[answer_start:answer_end] == answer``: for every text, tokenizer, backend and way to decode."""

from __future__ import annotations

import pytest
from backendhelpers import ArithmeticBackend
from decodehelpers import character_spans, slow_windows
from extractionhelpers import extractor, shard_of
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizerhelpers import pair_tokenizer, texts

from qatool.models.constant import ConstantBackend

MODES = ["native", "squad-script", "hf-pipeline"]
FAMILIES = ["wordpiece", "byte-level-bpe", "unigram"]
LONGEST = 6
TOP_K = 4

alphabet = st.one_of(
    st.characters(exclude_categories=["Cs"]),
    st.sampled_from(" \n\t\r\u00a0\u3000ab.\u0301\u200d\ufe0f\U0001f600\U0001f468\u0e33\u0130\ufb03\u00bd"),
)
contexts = st.text(alphabet, max_size=60)


@pytest.fixture(scope="module")
def backends(tiny_model) -> dict[str, object]:
    from qatool.models.pytorch.torch_backend import TorchBackend

    return {
        "constant": ConstantBackend(max_length=512),
        "arithmetic": ArithmeticBackend(),
        "model": TorchBackend(str(tiny_model), device="cpu", precision="fp32", tokenizer_limit=128),
    }


def check(one, pairs: list[tuple[str, str]], *, native: bool) -> None:
    prepared = one.prepare(shard_of(pairs))
    rows = one.answer(prepared).table.to_pylist()
    assert [row["question"] for row in rows] == [question for question, _ in pairs]
    for row, (_, context), pair in zip(rows, pairs, prepared.pair.tolist(), strict=True):
        assert row["error"] is None
        assert 0 <= row["no_answer_score"] <= 1
        spans = [(c["answer_start"], c["answer_end"]) for c in row["candidates"]]
        assert len(set(spans)) == len(spans) <= TOP_K
        decided = [] if row["answer"] is None else [row]
        for found in [*decided, *row["candidates"]]:
            start, end = found["answer_start"], found["answer_end"]
            assert 0 <= start <= end <= len(context)
            assert context[start:end] == found["answer"]
            assert 0 <= found["window"] < row["n_windows"]
            if native:
                assert found["answer"].strip() == found["answer"] != ""
                assert 0 <= found["score"] <= 1
        scores = [c["score"] for c in row["candidates"]]
        assert scores == sorted(scores, reverse=True)
        if decided:
            best = row["candidates"][0]
            assert all(
                row[name] == best[name] for name in ("answer", "answer_start", "answer_end", "score", "window")
            )
        if native and pair < len(prepared.examples.question_index):
            windows = slow_windows(prepared.examples, pair, words=False)
            legal = {span[:2] for window in windows for span in character_spans(window, context, LONGEST)}
            assert len(spans) == min(TOP_K, len(legal))
            assert set(spans) <= legal


@settings(max_examples=12, deadline=None)
@given(held=st.lists(contexts, min_size=1, max_size=3), stride=st.integers(0, 9))
@pytest.mark.parametrize("backend", ["constant", "arithmetic", "model"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mode", MODES)
def test_any_text(backends, mode, family, backend, held, stride) -> None:
    one = extractor(
        pair_tokenizer(family),
        backends[backend],
        mode=mode,
        top_k=TOP_K,
        longest=LONGEST,
        max_length=32,
        stride=stride,
    )
    check(one, [("who is it", context) for context in held], native=mode == "native")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mode", MODES)
def test_fixtures(backends, mode, family) -> None:
    one = extractor(
        pair_tokenizer(family), backends["arithmetic"], mode=mode, top_k=TOP_K, longest=LONGEST, max_length=64
    )
    check(one, [("who is it", text[:200]) for text in texts()[26:50]], native=mode == "native")


@settings(max_examples=20, deadline=None)
@given(question=st.text(alphabet, max_size=30))
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mode", MODES)
def test_any_question(mode, family, question) -> None:
    one = extractor(pair_tokenizer(family), mode=mode, top_k=TOP_K, longest=LONGEST, max_length=40)
    check(one, [(question, "the tall tenant on the landing moved it")], native=mode == "native")
