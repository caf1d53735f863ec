"""What is wrong with an input, told in the very words, with the exit code."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prephelpers import load, write_rows

from qatool.files.examples.labels import LabelError, read_answers

CONTEXT = "The pump in the valley was built in 1871 by a clockmaker, and the café beside it in 1903."
GOOD = {"id": "a", "question": "When?", "context": CONTEXT, "answers": {"text": ["1871"], "answer_start": [36]}}
LAYOUT = 'write {"text": ["..."], "answer_start": [N]}'
SURROGATE = "context holds a lone surrogate at character 0, which is not valid Unicode text"
STANDS = "an answer's text does not stand at its offset"
COUNT = "count characters of the context as it is given"
NOWHERE = "nowhere in the context"
BEYOND = "an answer's offset lies beyond the context"
FAR = CONTEXT + " And more." * 20


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"answers": {"text": ["1871"], "answer_start": [-1]}},
            "an answer's offset is negative: answer_start is -1; count characters from 0",
        ),
        (
            {"answers": {"text": ["1872"], "answer_start": [36]}},
            f"{STANDS}: at 36 stands '1871', and '1872' stands {NOWHERE}; {COUNT}",
        ),
        (
            {"answers": {"text": ["The pump"], "answer_start": [900]}},
            f"{BEYOND}: answer_start is 900 of 89 characters, and 'The pump' stands at 0; {COUNT}",
        ),
        ({"answers": "1871"}, "answers is a plain string: it is '1871' without an offset; " + LAYOUT),
        ({"answers": ["1871"]}, "answers is no list of objects: it holds '1871'; " + LAYOUT),
        ({"answers": 7}, "answers has another layout: it is 7; " + LAYOUT),
        ({"answers": {"text": ["1871"]}}, "answers has no answer_start: " + LAYOUT),
        (
            {"answers": {"text": "1871", "answer_start": [36]}},
            "answers.text is no list: it is '1871'; put it into a list, ['1871']",
        ),
        (
            {"answers": {"text": ["1871", "in 1871"], "answer_start": [36]}},
            "answers has lists of unequal length: 2 in text and 1 in answer_start; give each text its offset",
        ),
        (
            {"answers": {"text": [""], "answer_start": [36]}},
            "an answer's text is empty: for a question without an answer leave both lists empty",
        ),
        (
            {"answers": {"text": ["1871"], "answer_start": [36.5]}},
            "an answer's offset is no integer: answer_start is 36.5; count characters",
        ),
        (
            {"is_impossible": True},
            "is_impossible contradicts answers: it is true, yet there are some; drop either",
        ),
        (
            {"answers": {"text": [], "answer_start": []}, "is_impossible": False},
            "is_impossible contradicts answers: it is false, yet there are none; add one or drop it",
        ),
        ({"is_impossible": 3}, "is_impossible is no truth value: it is 3; write true or false"),
    ],
)
def test_rejected_labels(qatool, tmp_path, tiny_model, change, reason) -> None:
    write_rows(tmp_path / "in.jsonl", [GOOD, GOOD | {"id": "b"} | change, GOOD | {"id": "c"}])
    words = ["prep", "in.jsonl", "-o", "f", "--model", tiny_model, "-q"]
    assert qatool(*words) == (5, "", "Error: 1 row was rejected; see f/rejects.jsonl for the reasons\n")
    rejects = [json.loads(line) for line in (tmp_path / "f" / "rejects.jsonl").read_text().splitlines()]
    assert rejects == [{"row": 1, "id": "b", "where": "in.jsonl:2", "reason": reason}]
    found = load(tmp_path / "f")
    assert found.examples["error"].to_pylist() == [None, reason, None]
    assert found.features["overflow_to_sample_mapping"].to_pylist() == [0, 2]
    assert found.audit["reject_reasons"] == {reason: 1}
    strict = qatool(*words, "--strict")
    end = "mend the row, or drop --strict to set such rows aside"
    assert strict == (3, "", f"Error: in.jsonl:2: {reason}; {end}\n")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"question": null, "context": "c"}', "question is null"),
        ('{"question": "q"}', "no field 'context'"),
        ('{"question": 3, "context": "c"}', "question is a number, not text"),
        ("[1]", "is an array, not an object"),
        ('{"question": "q", "context": "\\ud83d"}', SURROGATE),
    ],
)  # fmt: skip
def test_bad_rows(qatool, tmp_path, tiny_model, line, problem) -> None:
    (tmp_path / "in.jsonl").write_text(f"{json.dumps(GOOD)}\n{line}\n")
    words = ["prep", "in.jsonl", "-o", "f", "--model", tiny_model, "-q"]
    end = "mend the row, or add --on-error skip to set such rows aside"
    assert qatool(*words) == (3, "", f"Error: in.jsonl:2: {problem}; {end}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]
    assert qatool(*words, "--on-error", "skip").code == 5
    assert load(tmp_path / "f").examples["error"].to_pylist() == [None, problem]


def test_too_many_errors(qatool, tmp_path, tiny_model) -> None:
    write_rows(tmp_path / "in.jsonl", [GOOD | {"answers": "x"}] * 3)
    words = ["prep", "in.jsonl", "-o", "f", "--model", tiny_model, "-q", "--on-error", "skip", "--max-errors", 2]
    remedy = "see f.qatool/rejects.jsonl, mend them or raise --max-errors"
    assert qatool(*words) == (
        3,
        "",
        f"Error: 3 rows are bad, more than --max-errors 2; {remedy}\n",
    )
    assert not (tmp_path / "f").exists()
    assert len((tmp_path / "f.qatool" / "rejects.jsonl").read_text().splitlines()) == 3
    write_rows(tmp_path / "in.jsonl", [GOOD])
    assert qatool(*words).code == 0
    assert not (tmp_path / "f.qatool").exists()


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["-o", "-"], ["-o -: features are a folder and cannot go to standard output; name a folder"]),
        (["-o", "f", "--strict", "--on-error", "skip"],
         ["--strict and --on-error skip: contradict each other; drop one"]),
        (["-o", "f", "--workers", "0", "--negatives-per-positive", "-1"],
         ["--workers 0: must be at least 1", "--negatives-per-positive -1.0: must be at least 0"]),
        (["-o", "f", "--max-length", "20", "--stride", "20"],
         ["--stride 20: windows of --max-length 20 cannot overlap by that much; lower --stride"]),
    ],
)  # fmt: skip
def test_usage(qatool, words, lines) -> None:
    assert qatool("prep", "in.jsonl", *words) == (2, "", "".join(f"Error: {line}\n" for line in lines))


def test_what_the_model_cannot_do(qatool, tmp_path, tiny_model) -> None:
    write_rows(tmp_path / "in.jsonl", [GOOD])
    words = ["prep", "in.jsonl", "-o", "f", "-q"]
    assert qatool(*words, "--model", tiny_model, "--max-length", 200).errors == [
        "Error: --max-length 200: the model reads at most 128 tokens; lower it"
    ]


def test_a_folder_of_others_is_left_alone(qatool, tmp_path, tiny_model) -> None:
    write_rows(tmp_path / "in.jsonl", [GOOD])
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "thesis.txt").write_text("mine")
    outcome = qatool("prep", "in.jsonl", "-o", "f", "--model", tiny_model, "-q")
    problem = (
        "Error: f: is not empty and holds 'thesis.txt', which qatool did not write; empty it or choose another folder"
    )
    assert (outcome.code, outcome.errors) == (9, [problem])
    (tmp_path / "f" / "thesis.txt").unlink()
    for _ in range(2):
        assert qatool("prep", "in.jsonl", "-o", "f", "--model", tiny_model, "-q").code == 0


def test_repairs(qatool, tmp_path, tiny_model) -> None:
    stripped = GOOD | {"id": "near", "answers": {"text": ["1871"], "answer_start": [39]}}
    in_bytes = GOOD | {"id": "bytes", "answers": {"text": ["1903"], "answer_start": [85]}}
    far = GOOD | {"id": "far", "context": FAR, "answers": {"text": ["1871"], "answer_start": [200]}}
    write_rows(tmp_path / "in.jsonl", [stripped, in_bytes, far])
    outcome = qatool("prep", "in.jsonl", "-o", "f", "--model", tiny_model, "--max-length", 120)
    found = load(tmp_path / "f")
    assert [answers and answers["answer_start"] for answers in found.examples["answers"].to_pylist()] == [
        [36],
        [84],
        None,
    ]
    assert [(one["id"], one["answer_start"], one["repaired"], one["reason"]) for one in found.audit["repairs"]] == [
        ("near", 39, 36, "the text stands nearby"),
        ("bytes", 85, 84, "the offset counts bytes, not characters"),
    ]
    assert "1 answer stood up to 50 characters away from the offset given: repaired" in outcome.err
    assert (
        "1 answer had an offset that counts bytes, not characters: repaired; mend the program that wrote it"
        in outcome.err
    )
    assert found.audit["rejected"] == 1


def test_layouts_of_answers(qatool, tmp_path, tiny_model) -> None:
    """The layouts of the field all give the same features."""
    rows = {name: GOOD[name] for name in ("id", "question", "context")}
    listed = [{"text": "1871", "answer_start": 36}]
    write_rows(tmp_path / "hf.jsonl", [GOOD])
    write_rows(tmp_path / "list.jsonl", [rows | {"answers": listed, "is_impossible": False}])
    pq.write_table(pa.Table.from_pylist([GOOD]), tmp_path / "hf.parquet")
    paragraph = {"context": CONTEXT, "qas": [{"id": "a", "question": "When?", "answers": listed}]}
    (tmp_path / "squad.json").write_text(json.dumps({"data": [{"title": "t", "paragraphs": [paragraph]}]}))
    cell = json.dumps(GOOD["answers"]).replace('"', '""')
    (tmp_path / "cells.csv").write_text(f'id,question,context,answers\na,When?,"{CONTEXT}","{cell}"\n')
    write_rows(tmp_path / "renamed.jsonl", [rows | {"labels": GOOD["answers"]}])
    tables = []
    for name in ("hf.jsonl", "list.jsonl", "hf.parquet", "squad.json", "cells.csv", "renamed.jsonl"):
        words = ["--column", "answers=labels"] if name.startswith("renamed") else []
        assert qatool("prep", name, "-o", "f", "--model", tiny_model, "-q", *words).code == 0
        tables.append((load(tmp_path / "f").features, load(tmp_path / "f").examples))
    assert all(one == tables[0] for one in tables)


def test_unlabelled_unanswerable_and_empty(qatool, tmp_path, tiny_model) -> None:
    bare = {name: GOOD[name] for name in ("question", "context")}
    rows = [bare, bare | {"is_impossible": True}, bare | {"answers": {"text": [], "answer_start": []}}]
    rows += [GOOD | {"question": "  "}, {"question": "q", "context": "", "answers": None}]
    write_rows(tmp_path / "in.jsonl", rows)
    outcome = qatool("prep", "in.jsonl", "-o", "f", "--model", tiny_model)
    assert outcome.code == 0
    found = load(tmp_path / "f")
    assert found.features["start_positions"].to_pylist() == [None, 0, 0]
    assert found.examples["n_windows"].to_pylist() == [1, 1, 1, 0, 0]
    counts = [found.audit[name] for name in ("examples", "unlabelled", "unanswerable", "empty", "answerable")]
    assert counts == [5, 1, 2, 2, 0]
    assert (found.audit["empty_questions"], found.audit["empty_contexts"]) == (1, 1)
    assert "1 example with an empty question" in outcome.err


@pytest.mark.parametrize("value", [True, 1, 1.0, "1", "true", "TRUE"])
def test_truth_values_as_tables_hold_them(value) -> None:
    assert read_answers({"is_impossible": value}) == []
    with pytest.raises(LabelError, match="it is true, yet there are some"):
        read_answers({"is_impossible": value, "answers": {"text": ["a"], "answer_start": [0]}})


@pytest.mark.parametrize("value", [False, 0, 0.0, "0", "false"])
def test_false_as_tables_hold_it(value) -> None:
    # A column of numbers that has a null is one of fractions to pandas.
    answers = {"text": ["a", "b"], "answer_start": [0.0, 2.0]}
    assert read_answers({"is_impossible": value, "answers": answers}) == [("a", 0), ("b", 2)]
