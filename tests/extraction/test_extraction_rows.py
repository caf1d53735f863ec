"""Rows in, rows out: odd, bad and repeated ones, their order, the decision, the columns and the counts."""

from __future__ import annotations

import pyarrow as pa
import pytest
from backendhelpers import ArithmeticBackend
from extractionhelpers import about, answers, example, extractor, shard_of
from hypothesis import given, settings
from hypothesis import strategies as st

from qatool.errors import InputError
from qatool.schema import answers_schema, fingerprint

CONTEXT = "The tall tenant moved the piano on Monday, with a ladder and two friends."
OTHER = "Nobody knows who left the gate open, but the goat does."
ODD = [("", CONTEXT), ("who", ""), (" \n", CONTEXT), ("who", "\u3000\t"), ("", "")]


@pytest.mark.parametrize("always_answer", [False, True])
@pytest.mark.parametrize("pair", ODD)
def test_odd_rows_have_no_answer(pair, always_answer) -> None:
    row = answers(extractor(always_answer=always_answer), [("who", CONTEXT), pair])[1]
    assert row == {
        "id": "1",
        "question": pair[0],
        "answer": None,
        "answer_start": None,
        "answer_end": None,
        "score": None,
        "no_answer_score": 1.0,
        "window": None,
        "n_windows": 0,
        "n_windows_read": 0,
        "candidates": [],
        "fingerprint": fingerprint(*pair),
        "error": None,
    }


@pytest.mark.parametrize("mode", ["native", "squad-script", "hf-pipeline"])
def test_contexts_without_tokens_are_answered_like_odd_ones(mode) -> None:
    odd, tokenless = answers(extractor(mode=mode), [("who", ""), ("who", "\u200b\x00")])
    same = odd.keys() - {"id", "fingerprint"}
    assert {name: tokenless[name] for name in same} == {name: odd[name] for name in same}


def test_more_text_than_a_part_can_hold_is_told(monkeypatch) -> None:
    class Arrow:
        """Does not get the texts into one array, as with more than 2 GiB of them."""

        def __getattr__(self, name: str) -> object:
            return getattr(pa, name)

        def array(self, values, kind, **more):
            made = pa.array(values, kind, **more)
            return pa.chunked_array([made]) if kind == pa.string() else made

    monkeypatch.setattr("qatool.extraction.answering.answers.pa", Arrow())
    with pytest.raises(
        InputError, match="questions of a shard hold more than 2 GiB of text, which no part can; lower --shard"
    ):
        answers(extractor(), [("who", CONTEXT)])


def test_bad_rows_keep_their_place() -> None:
    bad = example(None, CONTEXT, 1, error="question is missing")
    one = extractor(top_k=2)
    part = one.answer(one.prepare(shard_of([example("who", CONTEXT), bad, example("what", OTHER, 2)])))
    rows = part.table.to_pylist()
    assert [row["id"] for row in rows] == ["0", "1", "2"]
    assert rows[1]["error"] == "question is missing"
    assert {name for name, value in rows[1].items() if value is not None} == {"id", "error"}
    assert rows[0]["error"] is rows[2]["error"] is None
    assert part.rejects == [{"row": 1, "id": "1", "where": "rows:2", "reason": "question is missing"}]
    alone = answers(extractor(top_k=2), [("who", CONTEXT), ("what", OTHER)])
    assert [{**rows[2], "id": "1"}] == about(alone[1:])


def test_repeated_pairs_are_read_once() -> None:
    backend = ArithmeticBackend()
    one = extractor(backend=backend, max_length=128)
    pairs = [("who", CONTEXT), ("what", CONTEXT), ("who", CONTEXT), ("", CONTEXT), ("who", CONTEXT), ("who", OTHER)]
    part = one.answer(one.prepare(shard_of(pairs)))
    rows = part.table.to_pylist()
    assert sum(read for read, _ in backend.batches) == 3
    assert [row["question"] for row in rows] == [question for question, _ in pairs]
    assert {**rows[2], "id": "0"} == {**rows[4], "id": "0"} == rows[0]
    assert part.counts == {
        "examples": 6,
        "answered": 5,
        "no_answer": 1,
        "odd": 1,
        "rejected": 0,
        "repeated": 2,
        "taken_over": 0,
        "truncated_questions": 0,
        "windows": 5,
        "windows_read": 3,
    }


def test_questions_that_were_cut_are_counted() -> None:
    one = extractor()
    pairs = [("who " * 17, CONTEXT), ("who " * 16, CONTEXT), ("who " * 17, CONTEXT)]
    assert one.answer(one.prepare(shard_of(pairs))).counts["truncated_questions"] == 2


@pytest.mark.parametrize(("mode", "same"), [("native", False), ("squad-script", True), ("hf-pipeline", False)])
def test_leading_white_space_of_a_question(mode, same) -> None:
    one = extractor(mode=mode)
    prepared = one.prepare(shard_of([("  who", CONTEXT), ("who", CONTEXT)]))
    assert len(set(prepared.pair.tolist())) == (1 if same else 2)
    assert one.answer(prepared).table["question"].to_pylist() == ["  who", "who"]
    assert set(one.prepare(shard_of([("who ", CONTEXT), ("who", CONTEXT)])).pair.tolist()) == {0, 1}


def test_the_decision_follows_the_threshold() -> None:
    row = answers(extractor(threshold=1.0, always_answer=False), [("who", CONTEXT)])[0]
    nothing = row["no_answer_score"]
    assert row["answer"] == row["candidates"][0]["answer"]
    for threshold, decided in [(nothing, True), (nothing * 0.99, False), (-1.0, False)]:
        held = answers(extractor(threshold=threshold, always_answer=False), [("who", CONTEXT)])[0]
        assert (held["answer"] is not None) is decided
        assert held["candidates"] == row["candidates"]
        assert held["score"] == row["score"]
        assert held["window"] == row["window"]
    always = answers(extractor(threshold=-1.0), [("who", CONTEXT)])[0]
    assert always["answer"] == row["answer"]


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(range(8)))
def test_order_of_rows_is_kept(order) -> None:
    base = [
        *(example(*pair, row=row) for row, pair in enumerate([("who", CONTEXT), ("what", OTHER), *ODD])),
        example("who", None, 7, error="context is missing"),
    ]
    rows = answers(extractor(), [base[i] for i in order])
    assert [row["id"] for row in rows] == [str(i) for i in order]
    for row, i in zip(rows, order, strict=True):
        assert (row["answer"] is not None) == (i < 2)
        assert row["error"] == base[i].error


def test_columns() -> None:
    more = {"documents": True, "snippet": 4, "kept": {"tag": None, "n": pa.int16()}}
    kept = {"tag": ["a"], "n": 3}
    asked = example("who", CONTEXT, document_id="d", question_id="q0", kept=kept)
    one = extractor(**more)
    table = one.answer(one.prepare(shard_of([asked]))).table
    fields = [pa.field("tag", table["tag"].type), pa.field("n", pa.int16())]
    assert table.schema.equals(answers_schema(documents=True, snippet=True, kept=fields))
    row = table.to_pylist()[0]
    assert (row["document_id"], row["question_id"], row["n"]) == ("d", "q0", 3)
    assert row["snippet"] == CONTEXT[max(0, row["answer_start"] - 4) : row["answer_end"] + 4]
    assert one.columns.empty_schema().names == table.schema.names


def test_only_odd_rows() -> None:
    assert [row["answer"] for row in answers(extractor(), ODD)] == [None] * len(ODD)


def test_a_null_logit_of_minus_infinity_gives_no_nan() -> None:
    class NoNull(ArithmeticBackend):
        def logits(self, batch):
            start, end = super().logits(batch)
            start[:, 0] = -float("inf")
            return start, end

    row = answers(extractor(backend=NoNull()), [("who", CONTEXT)])[0]
    assert row["error"] is not None or 0 <= row["score"] <= 1
