"""``qatool evaluate``: every input, every message, every exit code."""

from __future__ import annotations

import gzip
import io
import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from evalhelpers import answer, reference, write_answers, write_json, write_references
from support import FIXTURES

from qatool import cli
from qatool.evaluation.reading.references import load_references
from qatool.files.sources.paths import resolve
from qatool.files.values.jsonlines import encode_lines

ROWS = (
    answer("q1", "the cat", "the cat", "dog", score=0.9, no_answer_score=0.05),
    answer("q2", "a dog", "a dog", "two cows", score=0.6, no_answer_score=0.2),
    answer("q3", None, "mouse", score=0.3, no_answer_score=0.7),
    answer("q4", "owl", "owl", score=0.4, no_answer_score=0.3),
)
REFERENCES = (
    reference("q1", "cat", "the cats", topic="pets"),
    reference("q2", "two cows", question="How many cows?", topic="farm"),
    reference("q3", topic="pets"),
    reference("q4", topic=None),
)


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_answers(tmp_path / "answers.parquet", *ROWS)
    write_references(tmp_path / "ref.jsonl", *REFERENCES)
    return tmp_path


def figures(capsys, *words: str) -> dict:
    assert cli.run(["evaluate", *words, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def fails(capsys, code: int, *words: str) -> list[str]:
    assert cli.run(["evaluate", *words]) == code
    captured = capsys.readouterr()
    return captured.err.splitlines()


class Piped:
    """Standard input that holds some text."""

    def __init__(self, text: str) -> None:
        self.buffer = io.BytesIO(text.encode())
        self.closed = False

    def isatty(self) -> bool:
        return False


def test_answers_or_references_from_standard_input(files, capsys, monkeypatch) -> None:
    answers = files / "answers.jsonl"
    answers.write_bytes(encode_lines(pq.read_table("answers.parquet")))
    plain = figures(capsys, "answers.jsonl", "--references", "ref.jsonl")
    monkeypatch.setattr("sys.stdin", Piped(answers.read_text()))
    assert figures(capsys, "-", "--references", "ref.jsonl") == plain
    monkeypatch.setattr("sys.stdin", Piped((files / "ref.jsonl").read_text()))
    assert figures(capsys, "answers.jsonl", "--references", "-") == plain
    assert fails(capsys, 2, "-", "--references", "-") == [
        "Error: -: standard input can be read only once; name it once, and files otherwise"
    ]
    monkeypatch.setattr("sys.stdin", Piped("{"))
    (line,) = fails(capsys, 3, "-", "--references", "ref.jsonl")
    assert "stdin.jsonl:1: " in line


def best_answers(*rows: tuple[str, str, str | None]) -> list[dict]:
    """Rows as --best-per question writes them: document, question, answer."""
    return [answer(f"{document}/{question}", text, question_id=question) for document, question, text in rows]


def test_best_answers_are_judged_by_question(files, capsys, caplog) -> None:
    rows = best_answers(("d1", "q2", "two cows"), ("d4", "q2", "one"), ("d1", "q1", "dog"), ("d2", "q3", None))
    rejected = answer("d9/q1", None, error="bad", question_id="q1")
    write_answers(files / "best.parquet", *rows, rejected)
    (files / "best.jsonl").write_bytes(encode_lines(pq.read_table("best.parquet")))
    write_references(files / "three.jsonl", *REFERENCES[:3])
    for name in ("best.parquet", "best.jsonl"):
        found = figures(capsys, name, "--references", "three.jsonl")
        assert (found["total"], found["exact"]) == (3, pytest.approx(200 / 3))


def test_answers_of_documents_to_one_question_are_not_its_best(files, capsys) -> None:
    """They stand together, too, but not by score; or their file says that all are there."""
    rows = best_answers(("d1", "q1", "dog"), ("d2", "q1", "cat"))
    rows[1]["score"] = 0.9
    write_answers(files / "one.parquet", *rows)
    assert "2 of 2 answers have no reference" in fails(capsys, 3, "one.parquet", "--references", "ref.jsonl")[0]
    table = pq.read_table("one.parquet").slice(0, 1)
    pq.write_table(table.replace_schema_metadata({"qatool": '{"options": {}}'}), "one.parquet")
    assert "1 of 1 answers have no reference" in fails(capsys, 3, "one.parquet", "--references", "ref.jsonl")[0]


def test_questions_of_one_id_are_not_mixed_up(files, capsys) -> None:
    rows = best_answers(("d1", "q1", "dog"), ("d2", "q1", "cat"))
    rows[1]["question"] = "Another?"
    write_answers(files / "one.parquet", *rows)
    assert fails(capsys, 3, "one.parquet", "--references", "ref.jsonl") == [
        "Error: one.parquet: the id 'q1' stands for several questions; give each its own and extract again"
    ]


def test_rejected_rows_without_a_question_do_not_matter(files, capsys) -> None:
    rows = best_answers(("d1", "q1", "cat"), ("d2", "q2", "two cows"), ("d3", "q3", None), ("d4", "q4", "owl"))
    write_answers(files / "best.parquet", *rows, answer("d9", None, error="bad", question_id=None))
    assert figures(capsys, "best.parquet", "--references", "ref.jsonl")["total"] == 4


def test_answers_of_all_documents_are_no_answers_to_the_question(files, capsys) -> None:
    write_answers(files / "all.parquet", *best_answers(("d1", "q1", "cat"), ("d1", "q2", "a"), ("d2", "q1", "dog")))
    assert "3 of 3 answers have no reference" in fails(capsys, 3, "all.parquet", "--references", "ref.jsonl")[0]


@pytest.mark.parametrize(
    ("cell", "texts"),
    [
        ("cat", ["cat"]),
        ('"{""text"": [""cat""]}"', ["cat"]),
        ('"[""cat"", ""cats""]"', ["cat", "cats"]),
        ("1871", ["1871"]),
        ("[sic]", ["[sic]"]),
        ("cat,false", ["cat"]),
        ("cat,0", ["cat"]),
    ],
)
def test_texts_alone_are_references(tmp_path, cell, texts) -> None:
    path = tmp_path / "ref.csv"
    path.write_text(f"id,answers{',is_impossible' * cell.endswith(('false', '0'))}\nq1,{cell}\n")
    assert load_references(resolve([str(path)])).texts == [tuple(texts)]


def test_figures_of_answers(files, capsys) -> None:
    found = figures(capsys, "answers.parquet", "--references", "ref.jsonl", "--slice-by", "topic")
    assert {key: found[key] for key in ("exact", "f1", "total", "HasAns_exact", "NoAns_exact", "NoAns_total")} == {
        "exact": 50.0,
        "f1": 50.0,
        "total": 4,
        "HasAns_exact": 50.0,
        "NoAns_exact": 50.0,
        "NoAns_total": 2,
    }
    assert (found["answered"], found["no_answer"], found["rejected"]) == (3, 1, 0)
    assert (found["best_f1"], found["best_f1_thresh"]) == (75.0, pytest.approx(0.05))
    assert found["recall_at_k"] == {"1": 50.0, "2": 100.0}
    assert [(row["value"], row["total"]) for row in found["slices"]["topic"]] == [
        ("pets", 2),
        ("farm", 1),
        ("null", 1),
    ]
    assert [row["value"] for row in found["slices"]["question_word"]] == ["what", "how many"]
    # One answer a bin: right with 0.9, wrong with 0.6, 0.3 and 0.4, that of an unanswerable question among them.
    assert found["ece"] == pytest.approx((0.1 + 0.6 + 0.3 + 0.4) / 4)
    assert found["answered_ece"] == pytest.approx((0.1 + 0.6 + 0.4) / 3)
    assert found["precision_recall"]["points"][0] == {
        "threshold": pytest.approx(0.9),
        "precision": 1.0,
        "recall": 0.5,
        "kept": 1,
    }
    low, high = found["intervals"]["exact"]
    assert 0 <= low < 50 < high <= 100


def test_the_table(files, capsys) -> None:
    assert cli.run(["evaluate", "answers.parquet", "--references", "ref.jsonl"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "4 questions: 3 answered, 1 no answer, 0 rejected"
    assert [line.split() for line in lines[2:4]] == [
        ["questions", "exact", "95", "%", "F1", "95", "%"],
        ["all", "4", "50.00", "0.0-100.0", "50.00", "0.0-100.0"],
    ]
    assert "best F1 on these questions: 75.00, with --no-answer-threshold 0.05" in lines
    assert "exact answers among the first candidates: 50.00 among 1, 100.00 among 2" in lines


@pytest.mark.parametrize("name", ["answers.jsonl", "answers.jsonl.gz", "answers", "answers.json"])
def test_every_kind_of_answers_gives_the_same_figures(files, capsys, name) -> None:
    expected = figures(capsys, "answers.parquet", "--references", "ref.jsonl")
    lines = "".join(json.dumps(row) + "\n" for row in pq.read_table("answers.parquet").to_pylist()).encode()
    path = files / name
    if name == "answers":
        path.mkdir()
        write_answers(path / "part-00000.parquet", *ROWS[:1])
        write_answers(path / "part-00001.parquet", *ROWS[1:])
        (path / "_SUCCESS").write_text("{}")
    elif name.endswith(".json"):
        write_json(path, {row["id"]: row["answer"] for row in ROWS})
    else:
        path.write_bytes(gzip.compress(lines) if name.endswith(".gz") else lines)
    found = figures(capsys, name, "--references", "ref.jsonl")
    if name.endswith(".json"):
        assert "ece" not in found
        expected = {key: expected[key] for key in ("exact", "f1", "total", "HasAns_f1", "NoAns_f1", "intervals")}
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize("name", ["ref.json", "ref.parquet", "ref.csv", "squad.json"])
def test_every_kind_of_references_gives_the_same_figures(files, capsys, name) -> None:
    expected = figures(capsys, "answers.parquet", "--references", "ref.jsonl")
    if name == "squad.json":
        questions = [
            {"id": row["id"], "question": row["question"], "answers": [
                {"text": text, "answer_start": 0} for text in row["answers"]["text"]
            ], "is_impossible": not row["answers"]["text"]}
            for row in REFERENCES
        ]  # fmt: skip
        data = [{"title": "T", "paragraphs": [{"context": "It is so.", "qas": questions}]}]
        write_json(files / name, {"version": "2.0", "data": data})
    elif name == "ref.parquet":
        pq.write_table(pa.Table.from_pylist(list(REFERENCES)), files / name)
    elif name == "ref.csv":
        import csv

        with (files / name).open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["id", "question", "answers"])
            writer.writerows([[row["id"], row["question"], json.dumps(row["answers"])] for row in REFERENCES])
    else:
        write_json(files / name, list(REFERENCES))
    assert figures(capsys, "answers.parquet", "--references", name) == expected


def test_text_lists_and_integer_ids_will_do_as_references(files, capsys) -> None:
    write_references(files / "r.jsonl", {"id": 7, "answers": ["cat"]}, {"id": 8, "is_impossible": True})
    write_json(files / "p.json", {"7": "The Cat", "8": ""})
    assert figures(capsys, "p.json", "--references", "r.jsonl")["exact"] == 100.0


def test_rows_without_an_id_go_by_their_number(files, capsys) -> None:
    write_references(files / "r.jsonl", {"labels": {"text": ["cat"]}}, {"labels": {"text": []}})
    write_json(files / "p.json", {"0": "cat", "1": "cat"})
    words = ("p.json", "--references", "r.jsonl", "--column", "answers=labels")
    assert figures(capsys, *words)["exact"] == 50.0


def test_a_rejected_row_is_wrong_even_where_there_is_no_answer(files, capsys) -> None:
    rows = [answer("q3", None, error="context is null", score=None, no_answer_score=None), *ROWS[:2], ROWS[3]]
    write_answers(files / "a.parquet", *rows)
    found = figures(capsys, "a.parquet", "--references", "ref.jsonl")
    assert (found["rejected"], found["NoAns_exact"], found["best_exact"]) == (1, 0.0, 50.0)


def test_deciding_anew(files, capsys) -> None:
    words = ("answers.parquet", "--references", "ref.jsonl", "--no-answer-threshold")
    assert figures(capsys, *words, "0.25")["NoAns_exact"] == 100.0
    found = figures(capsys, *words, "1")
    assert (found["answered"], found["NoAns_exact"], found["HasAns_exact"]) == (4, 0.0, 50.0)


def test_deciding_anew_at_a_score_itself(files, capsys) -> None:
    """In single precision, as extract decides: 0.4980807 is a little less than the score that is written so."""
    score = np.float32(0.4980807)
    assert float(score) > 0.4980807
    rows = [row | {"no_answer_score": float(score)} for row in ROWS]
    write_answers(files / "same.parquet", *rows)
    table = pq.read_table(files / "same.parquet")
    (files / "same.jsonl").write_bytes(encode_lines(table))
    above = ("--no-answer-threshold", str(np.nextafter(score, np.float32(0))))
    for name in ("same.parquet", "same.jsonl"):
        for words, answered in ((("--no-answer-threshold", "0.4980807"), 4), (above, 0)):
            assert figures(capsys, name, "--references", "ref.jsonl", *words)["answered"] == answered


def test_thresholds_on_the_screen_are_those_that_decide(files, capsys) -> None:
    write_answers(
        files / "close.parquet",
        ROWS[0] | {"no_answer_score": 0.4980807},
        *(row | {"no_answer_score": 0.9} for row in ROWS[1:]),
    )
    words = ["evaluate", "close.parquet", "--references", "ref.jsonl"]
    found = figures(capsys, *words[1:])
    assert cli.run(words) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("best F1 on these questions"))
    assert np.float32(line.rpartition(" ")[2]) == np.float32(found["best_f1_thresh"])


def test_no_answer_scores_beside_predictions(files, capsys) -> None:
    write_json(files / "p.json", {row["id"]: row["candidates"][0]["answer"] for row in ROWS})
    write_json(files / "s.json", {row["id"]: row["no_answer_score"] for row in ROWS})
    found = figures(capsys, "p.json", "--references", "ref.jsonl", "--no-answer-scores", "s.json")
    assert (found["exact"], found["best_exact"], found["best_exact_thresh"]) == (25.0, 75.0, 0.05)


def test_comparison(files, capsys) -> None:
    write_json(files / "b.json", {"q1": "cat", "q2": "two cows", "q3": "", "q4": ""})
    found = figures(capsys, "answers.parquet", "--references", "ref.jsonl", "--compare", "b.json")["compare"]
    assert (found["exact"]["gain"], found["changed"], found["became_right"], found["became_wrong"]) == (50.0, 3, 2, 0)
    assert found["changes"][1] == {
        "id": "q2",
        "before": "a dog",
        "after": "two cows",
        "exact_before": 0,
        "exact_after": 1,
        "f1_before": 0.0,
        "f1_after": 1.0,
    }
    assert cli.run(["evaluate", "answers.parquet", "--references", "ref.jsonl", "--compare", "b.json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  3 answers changed: 2 became right, 0 became wrong" in lines
    assert '  + q4: "owl" -> no answer' in lines


def test_a_file_compared_with_itself_gains_nothing(files, capsys) -> None:
    words = ("answers.parquet", "--references", "ref.jsonl", "--compare", "answers.parquet")
    found = figures(capsys, *words)["compare"]
    assert found["f1"] == {"gain": 0.0, "interval": [0.0, 0.0], "better_share": 0.0}
    assert found["changes"] == []


def test_the_gate(files, capsys) -> None:
    words = ("answers.parquet", "--references", "ref.jsonl", "--min-f1")
    assert cli.run(["evaluate", *words, "50"]) == 0
    capsys.readouterr()
    assert fails(capsys, 10, *words, "50.5") == [
        "Error: F1 is 50.00, below --min-f1 50.5; improve the answers or lower it"
    ]


def test_unmatched_ids(files, capsys) -> None:
    write_json(files / "p.json", {"q1": "cat", "q2": "", "zz": "x"})
    assert fails(capsys, 3, "p.json", "--references", "ref.jsonl") == [
        "Error: p.json: 1 of 3 answers have no reference, the first 'zz'; add --partial to evaluate what matches",
        "Error: p.json: 2 of 4 references have no answer, the first 'q3'; add --partial to evaluate what matches",
    ]
    found = figures(capsys, "p.json", "--references", "ref.jsonl", "--partial")
    assert (found["total"], found["exact"], found["without_reference"], found["without_answer"]) == (2, 50.0, 1, 2)
    assert cli.run(["evaluate", "p.json", "--references", "ref.jsonl", "--partial"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == (
        "left out: 1 answer without a reference, 2 references without an answer"
    )


def test_partial_rows_of_a_table_stay_aligned(files, capsys) -> None:
    write_references(files / "some.jsonl", REFERENCES[2], REFERENCES[1])
    found = figures(capsys, "answers.parquet", "--references", "some.jsonl", "--partial")
    assert (found["total"], found["exact"], found["recall_at_k"]) == (2, 50.0, {"1": 0.0, "2": 100.0})


def test_nothing_matches(files, capsys) -> None:
    write_json(files / "p.json", {"x": "cat"})
    assert fails(capsys, 3, "p.json", "--references", "ref.jsonl", "--partial") == [
        "Error: p.json: no answer has a reference of its id; name the references these answers belong to"
    ]


def test_the_other_answers_must_be_to_the_same_questions(files, capsys) -> None:
    write_json(files / "b.json", {"q1": "cat"})
    words = ("answers.parquet", "--references", "ref.jsonl", "--compare", "b.json")
    assert fails(capsys, 3, *words) == [
        "Error: b.json: 3 of 4 references have no answer, the first 'q2'; add --partial to evaluate what matches"
    ]
    assert figures(capsys, *words, "--partial")["compare"]["total"] == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": "x", "a": "y"}', "p.json: the id 'a' is there twice; ids must be unique to be evaluated"),
        ('{"a": 3}', "p.json: the answer of 'a' is 3, not text; mend it"),
        ("[1]", 'p.json: is no JSON object; expected {"id": ...}, as the official SQuAD scripts take it'),
    ],
)
def test_bad_predictions(files, capsys, content, message) -> None:
    (files / "p.json").write_text(content)
    assert fails(capsys, 3, "p.json", "--references", "ref.jsonl") == [f"Error: {message}"]


def test_ids_twice_in_a_table(files, capsys) -> None:
    write_answers(files / "a.parquet", ROWS[0], ROWS[0])
    assert fails(capsys, 3, "a.parquet", "--references", "ref.jsonl") == [
        "Error: a.parquet: the id 'q1' is there twice; ids must be unique to be evaluated"
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([REFERENCES[0], REFERENCES[0]], "r.jsonl:2: the id 'q1' is already that of r.jsonl:1; make ids unique"),
        (
            [{"id": "q1", "question": "?"}],
            "r.jsonl:1: is not labelled: neither answers nor is_impossible says anything; label the row",
        ),
        (
            [{**REFERENCES[0], "is_impossible": True}],
            "r.jsonl:1: is_impossible contradicts answers: it is true, yet there are some; drop either",
        ),
        ([{"id": 1.5, "answers": []}], "r.jsonl:1: id is a number, neither text nor an integer; mend the row"),
    ],
)
def test_bad_references(files, capsys, rows, message) -> None:
    write_references(files / "r.jsonl", *rows)
    assert fails(capsys, 3, "answers.parquet", "--references", "r.jsonl") == [f"Error: {message}"]


def test_other_files_are_no_answers_and_no_references(files, capsys) -> None:
    pq.write_table(pa.table({"id": ["q1"], "text": ["x"]}), files / "t.parquet")
    (files / "notes.txt").write_text("x")
    (files / "broken.jsonl").write_text("{\n")
    assert fails(capsys, 3, "t.parquet", "--references", "ref.jsonl") == [
        "Error: t.parquet: no column 'answer'; name answers that qatool extract wrote"
    ]
    assert fails(capsys, 3, "ref.jsonl", "--references", "ref.jsonl") == [
        "Error: ref.jsonl:1: no id or no answer; name answers that qatool extract wrote"
    ]
    assert fails(capsys, 3, "answers.parquet", "--references", "notes.txt") == [
        "Error: notes.txt: a text file holds no labels; name labelled rows"
    ]
    assert fails(capsys, 3, "answers.parquet", "--references", "t.parquet")[0].startswith(
        "Error: t.parquet: no column 'answers'; there are 'id', 'text'"
    )
    assert fails(capsys, 3, "gone.parquet", "--references", "ref.jsonl") == [
        "Error: gone.parquet: no such file or folder; check the path"
    ]
    (line,) = fails(capsys, 3, "broken.jsonl", "--references", "ref.jsonl")
    assert line.startswith("Error: broken.jsonl:1: ")


def test_no_answers_at_all(files, capsys) -> None:
    pq.write_table(pq.read_table("answers.parquet").slice(0, 0), "a.parquet")
    assert fails(capsys, 3, "a.parquet", "--references", "ref.jsonl", "--partial") == [
        "Error: a.parquet: no answer has a reference of its id; name the references these answers belong to"
    ]


def test_integer_ids_of_a_table_are_text(files, capsys) -> None:
    pq.write_table(pa.table({"id": [1, 2], "answer": ["cat", None]}), "a.parquet")
    write_references(files / "r.jsonl", {"id": 1, "answers": ["cat"]}, {"id": "2", "answers": []})
    assert figures(capsys, "a.parquet", "--references", "r.jsonl")["exact"] == 100.0


def test_scores_for_every_prediction(files, capsys) -> None:
    write_json(files / "p.json", {"q1": "", "q2": "", "q3": "", "q4": ""})
    write_json(files / "s.json", {"q1": 0.5, "q3": 0.1})
    words = ("p.json", "--references", "ref.jsonl", "--no-answer-scores", "s.json")
    assert fails(capsys, 3, *words) == [
        "Error: s.json: 2 of 4 answers have no score, the first 'q2'; score every answer"
    ]
    write_json(files / "s.json", {"q1": "0.5"})
    assert fails(capsys, 3, *words) == ["Error: s.json: the score of 'q1' is '0.5', no number to decide by; mend it"]


@pytest.mark.parametrize("score", ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400, "true"])
def test_scores_that_are_no_numbers_to_compare_with(files, capsys, score) -> None:
    write_json(files / "p.json", {"q1": "", "q2": "", "q3": "", "q4": ""})
    (files / "s.json").write_text(f'{{"q1": 0.5, "q2": 0.5, "q3": {score}, "q4": -3}}')
    (line,) = fails(capsys, 3, "p.json", "--references", "ref.jsonl", "--no-answer-scores", "s.json")
    assert re.fullmatch(r"Error: s\.json: the score of 'q3' is [\w.-]+, no number to decide by; mend it", line)


def test_squad_1_1_knows_no_unanswerable_questions(files, capsys) -> None:
    words = ("answers.parquet", "--references", "ref.jsonl", "--rules", "squad1.1")
    assert fails(capsys, 3, *words) == [
        "Error: answers.parquet: 2 questions are unanswerable, which SQuAD 1.1 does not know; drop --rules squad1.1"
    ]
    write_references(files / "r.jsonl", reference("q1", "."))
    write_json(files / "p.json", {"q1": "the"})
    found = figures(capsys, "p.json", "--references", "r.jsonl", "--rules", "squad1.1")
    assert (found["exact_match"], found["f1"]) == (100.0, 0.0)


def test_usage(files, capsys) -> None:
    words = ("answers.parquet", "--references", "ref.jsonl")
    assert fails(capsys, 2, *words, "--no-answer-scores", "s", "--min-f1", "101", "--resamples", "5") == [
        "Error: --resamples 5: must be at least 100",
        "Error: --no-answer-scores: only answers in SQuAD's JSON lack scores of their own; drop it",
        "Error: --min-f1 101.0: is in per cent; give a number from 0 to 100",
    ]
    (line,) = fails(capsys, 2, *words, "--resamples", "100000000000")
    assert line == "Error: --resamples 100000000000: must be at most 1000000"
    (line,) = fails(capsys, 2, *words, "--no-answer-threshold", "2")
    assert line == "Error: --no-answer-threshold 2: must lie between 0 and 1"
    write_json(files / "p.json", {"q1": "", "q2": "", "q3": "", "q4": ""})
    (line,) = fails(capsys, 2, "p.json", "--references", "ref.jsonl", "--no-answer-threshold", "0.5")
    assert line.startswith("Error: --no-answer-threshold: these answers have no no_answer_score to decide by; give")
    assert fails(capsys, 3, *words, "--slice-by", "x\x1by") == [
        "Error: --slice-by 'x\\x1by': neither references nor answers have this column; check it"
    ]


def test_a_column_of_the_answers_can_be_sliced_by(files, capsys) -> None:
    rows = [{**row, "lang": "en\x1b[31m"} for row in ROWS]
    write_answers(files / "a.parquet", *rows, kept=[pa.field("lang", pa.string())])
    assert cli.run(["evaluate", "a.parquet", "--references", "ref.jsonl", "--slice-by", "lang"]) == 0
    out = capsys.readouterr().out
    assert "en\\x1b[31m" in out
    assert "\x1b" not in out


def test_the_fixtures_evaluate_themselves(tmp_path, capsys) -> None:
    rows = [json.loads(line) for line in (FIXTURES / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
    path = write_json(tmp_path / "p.json", {row["id"]: (row["answers"]["text"] or [""])[-1] for row in rows})
    found = figures(capsys, str(path), "--references", str(FIXTURES / "corpus.parquet"))
    assert (found["exact"], found["f1"], found["total"]) == (100.0, 100.0, len(rows))


def test_nothing_heavy_is_imported(files) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from qatool import cli; "
        "code = cli.run(['evaluate', 'answers.parquet', '--references', 'ref.jsonl']); "
        "sys.exit(code or ('torch' in sys.modules) or ('transformers' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_a_threshold_decides_as_the_official_script_has_it(tmp_path, monkeypatch, capsys) -> None:
    """Also where the reference normalises to nothing: no answer is then what the scores say, and wrong."""
    monkeypatch.chdir(tmp_path)
    write_references(tmp_path / "r.jsonl", reference("q1", "A"), reference("q2"), reference("q3", "cat"))
    write_answers(
        tmp_path / "a.parquet",
        answer("q1", "the", no_answer_score=0.9),
        answer("q2", "dog", no_answer_score=0.9),
        answer("q3", "cat"),
    )
    words = ["evaluate", "a.parquet", "--references", "r.jsonl", "--json", "--resamples", "100"]
    assert cli.run([*words, "--no-answer-threshold", "0.5"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["exact"], found["f1"]) == pytest.approx((200 / 3, 200 / 3))


def test_a_column_to_slice_by_may_be_renamed(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    write_references(tmp_path / "r.jsonl", reference("q1", "cat", subject="a"), reference("q2", "dog", subject="b"))
    write_answers(tmp_path / "a.parquet", answer("q1", "cat"), answer("q2", "cat"))
    words = ["evaluate", "a.parquet", "--references", "r.jsonl", "--json", "--resamples", "100"]
    assert cli.run([*words, "--column", "topic=subject", "--slice-by", "topic"]) == 0, capsys.readouterr().err
    assert "topic" in json.loads(capsys.readouterr().out)["slices"]


def test_the_made_up_id_of_an_unreadable_row_takes_no_place(files, capsys) -> None:
    """Its row number is the id of another row; two readable rows of one id are an error as ever."""
    unread = answer("q2", None, error="invalid JSON", score=None, no_answer_score=None, question=None)
    write_answers(files / "more.parquet", *ROWS[:1], unread, *ROWS[1:])
    expected = figures(capsys, "answers.parquet", "--references", "ref.jsonl")
    assert cli.run(["evaluate", "more.parquet", "--references", "ref.jsonl", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == expected
    assert "1 row could not be read" in captured.err
    refused = answer("q2", None, error="question is null", score=None, no_answer_score=None, question="Which?")
    write_answers(files / "twice.parquet", *ROWS, refused)
    assert fails(capsys, 3, "twice.parquet", "--references", "ref.jsonl") == [
        "Error: twice.parquet: the id 'q2' is there twice; ids must be unique to be evaluated"
    ]
