"""What travels between a run and its workers arrives as it was, and what stands for a shard that nobody could do."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
from extractionhelpers import answers, example, extractor, shard_of

from qatool.extraction.answering.columns import AnswerColumns
from qatool.extraction.answering.part import Answerer, Task
from qatool.extraction.answering.previous import TakenAnswers
from qatool.extraction.answering.setup import Resolved
from qatool.extraction.engines.workers import AnswererMaker
from qatool.options import ExtractOptions

CONTEXT = "Ada wrote the first program for a machine that was never built."


def test_a_task_arrives_as_it_was() -> None:
    bad = example(None, CONTEXT, 1, error="question is null")
    shard = shard_of([example("who", CONTEXT), bad, example("what", CONTEXT, 2, kept={"tag": ["a"]})])
    sent = Task(shard=shard, taken=None, kept={"tag": None, "n": pa.int16()})
    got = pickle.loads(pickle.dumps(sent))
    assert got.shard == shard
    assert got.shard.content_hash == shard.content_hash
    assert got.kept == sent.kept


def test_a_part_is_the_same_wherever_it_is_made() -> None:
    one = extractor(snippet=3, kept={"tag": None})
    shard = shard_of([example("who", CONTEXT, kept={"tag": 1}), example("", CONTEXT, 1)])
    here = one.answer(one.prepare(shard))
    worker = Answerer(SimpleNamespace(resolved=lambda: None, extractor=extractor(snippet=3)))
    task = pickle.loads(pickle.dumps(Task(shard=shard, taken=None, kept={"tag": None})))
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
    maker = AnswererMaker(options=asked, planned={}, features=None)
    common = {"model_fingerprint": "m", "backend": "torch", "precision": "bf16"}
    first = Resolved(identity={"model": "m"}, limits={"precision": "bf16"}, device="cuda:0", **common)
    other = Resolved(identity={"model": "m"}, limits={"precision": "bf16"}, device="cuda:1", **common)
    assert maker.difference(first, other) is None
    weaker = Resolved(identity={"model": "n"}, limits={"precision": "fp16"}, device="cuda:0", version="0", **common)
    told = maker.difference(first, weaker)
    assert told is not None
    assert "model 'm' and 'n', precision 'bf16' and 'fp16'" in told
    assert "qatool " in told
