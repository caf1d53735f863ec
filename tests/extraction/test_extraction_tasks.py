"""What travels between a run and its workers arrives as it was, and what stands for a shard that nobody could do."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from extractionhelpers import answers, example, extractor, shard_of

from qatool.extraction.answering.answerer import Answerer, Task
from qatool.extraction.answering.columns import AnswerColumns
from qatool.extraction.answering.previous import TakenAnswers
from qatool.extraction.answering.resolved import AnswerIdentity, Numerics, Resolved
from qatool.extraction.answering.setup import load_setup
from qatool.extraction.engines.workers import AnswererFactory
from qatool.options import ExtractOptions
from qatool.spans.calibration import Calibration

CONTEXT = "Ada wrote the first program for a machine that was never built."


def test_a_task_arrives_as_it_was() -> None:
    bad = example(None, CONTEXT, 1, error="question is null")
    shard = shard_of([example("who", CONTEXT), bad, example("what", CONTEXT, 2, kept={"tag": ["a"]})])
    sent = Task(
        shard=shard,
        taken=None,
        columns=AnswerColumns(documents=False, snippet=None, kept={"tag": None, "n": pa.int16()}),
    )
    got = pickle.loads(pickle.dumps(sent))
    assert got.shard == shard
    assert got.shard.content_hash == shard.content_hash
    assert got.columns == sent.columns


def test_a_part_is_the_same_wherever_it_is_made() -> None:
    one = extractor(snippet=3, kept={"tag": None})
    shard = shard_of([example("who", CONTEXT, kept={"tag": 1}), example("", CONTEXT, 1)])
    here = one.answer(one.prepare(shard))
    worker = Answerer(SimpleNamespace(resolved=None, extractor=extractor(snippet=3)))
    task = pickle.loads(pickle.dumps(Task(shard=shard, taken=None, columns=replace(one.columns, kept={"tag": None}))))
    there = pickle.loads(pickle.dumps(worker.finish(worker.prepare(task), lambda _: None)))
    assert there.table.equals(here.table)
    assert (there.counts, there.rejects) == (here.counts, here.rejects)


def test_earlier_answers_travel_along() -> None:
    one = extractor()
    pairs = [("who", CONTEXT), ("what", CONTEXT), ("when", CONTEXT)]
    whole = one.answer(one.prepare(shard_of(pairs))).table
    earlier = TakenAnswers(np.array([-1, 1, 0]), whole.slice(1).take([1, 0]).select(one.columns.answers))
    taken = one.answer(one.prepare(shard_of(pairs), pickle.loads(pickle.dumps(earlier))))
    assert taken.table["candidates"].to_pylist() == whole["candidates"].take([0, 1, 2]).to_pylist()
    assert taken.counts["taken_over"] == 2


def test_what_stands_for_a_shard_that_is_given_up() -> None:
    one = extractor(snippet=3, kept={"tag": pa.string()})
    bad = example(None, CONTEXT, 1, error="question is null", kept={"tag": "b"})
    shard = shard_of([example("who", CONTEXT, kept={"tag": "a"}), bad])
    part = one.columns.refused(shard, "its worker was lost")
    plain = one.answer(one.prepare(shard))
    assert part.table.schema.equals(plain.table.schema)
    assert part.table["error"].to_pylist() == ["its worker was lost", "question is null"]
    assert part.table["tag"].to_pylist() == ["a", "b"]
    assert part.table.slice(1).to_pylist() == plain.table.slice(1).to_pylist()
    assert part.table["no_answer_score"].null_count == 2
    assert set(part.counts) == set(plain.counts)
    assert (part.counts["examples"], part.counts["rejected"]) == (2, 2)
    assert [reject["row"] for reject in part.rejects] == [0, 1]


IDENTITY = AnswerIdentity(
    model="m",
    tokenizer="t",
    max_length=384,
    stride=128,
    max_question_length=64,
    max_windows="auto",
    rules_of_windows=1,
    rules_of_spans=1,
    max_answer_length=30,
    decode="native",
    top_k=1,
    calibration=Calibration(),
    always_answer=False,
    no_answer_threshold=0.5,
)
NUMERICS = Numerics(
    shard_rows=8,
    first_shard_rows=2,
    shard_bytes=100,
    batch_tokens=1_000,
    backend="torch",
    device_kind="cuda",
    precision="bf16",
    compile=False,
    way="packed",
)


def test_identities_are_told_by_every_value() -> None:
    """Run folders of other versions hold this hash."""
    assert IDENTITY.fingerprint == "4575d22cecdabb0ccff5e9c55390c181592521728952c262ac98e85128e377bf"
    others = [
        replace(IDENTITY, calibration=Calibration(answerable_bias=0.1)),
        replace(IDENTITY, top_k=2),
        replace(IDENTITY, max_windows="all"),
    ]
    assert len({IDENTITY.fingerprint, *(one.fingerprint for one in others)}) == 4


@pytest.mark.parametrize("numerics", [NUMERICS, replace(NUMERICS, device_kind="cpu", first_shard_rows=None)])
def test_what_a_plan_holds_is_read_back(numerics) -> None:
    limits = json.loads(json.dumps(numerics.as_json()))
    assert ("way" in limits) is numerics.is_on_card
    assert ("first_shard_rows" in limits) is numerics.is_on_card
    again = Numerics.of_plan({**limits, "of a later version": 1})
    assert again is not None
    assert again.as_json() == limits
    del limits["device_kind"]
    assert Numerics.of_plan(limits) is None


def test_a_whole_number_makes_no_other_identity() -> None:
    asked = {"inputs": ("-",), "output": "-", "backend": "constant"}
    whole, floating = (load_setup(ExtractOptions(**asked, no_answer_threshold=value)) for value in (0, 0.0))
    assert whole.resolved.identity.fingerprint == floating.resolved.identity.fingerprint


def test_the_columns_that_a_model_fills_in() -> None:
    one = extractor()
    assert one.columns.answers == [
        *("answer", "answer_start", "answer_end", "score", "no_answer_score", "window", "n_windows"),
        *("n_windows_read", "candidates"),
    ]
    assert set(one.columns.answers) < set(answers(one, [("who", CONTEXT)])[0])
    assert AnswerColumns(documents=True, snippet=1, kept={}).answers == one.columns.answers


def test_workers_that_would_answer_otherwise_are_told_apart() -> None:
    asked = ExtractOptions(inputs=("in.jsonl",), output="out.parquet")
    factory = AnswererFactory(options=asked, planned=None, features=None)
    first = Resolved(identity=IDENTITY, numerics=NUMERICS, device="cuda:0")
    other = replace(first, device="cuda:1")
    assert factory.difference(first, other) is None
    weaker = replace(
        first,
        identity=replace(IDENTITY, model="n", calibration=Calibration(temperature=2.0)),
        numerics=replace(NUMERICS, precision="fp16"),
        version="0",
    )
    told = factory.difference(first, weaker)
    assert told is not None
    assert "model 'm' and 'n', temperature 1.0 and 2.0, precision 'bf16' and 'fp16'" in told
    assert "qatool " in told
