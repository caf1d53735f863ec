from __future__ import annotations

import json
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filehelpers import corpus_of, write, write_rows

from qatool.errors import InputError, UsageError
from qatool.files.examples.fields import id_problem, text_problem
from qatool.files.formats import parquet
from qatool.files.sources.paths import resolve
from qatool.files.sources.rows import RejectReasons

FORMATS = ["parquet", "jsonl", "csv", "tsv", "json"]


def told(corpus):
    return [(one.id, one.question, one.context, one.where, one.error) for one in corpus.examples()]


def problem(*paths, **options):
    with pytest.raises((InputError, UsageError)) as caught:
        corpus_of(*paths, **options)
    return str(caught.value)


@pytest.fixture
def in_folder(tmp_path, monkeypatch) -> Path:
    """A folder to work in: files are named as seen from there."""
    monkeypatch.chdir(tmp_path)
    return Path()


def test_a_place_names_the_path_as_it_was_given(in_folder):
    paths = [write(in_folder / folder / "a.jsonl", "{}\n") for folder in ("x", "y")]
    assert [example.where for example in corpus_of(*paths).examples()] == ["x/a.jsonl:1", "y/a.jsonl:1"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_rows_of_every_format(in_folder, suffix):
    rows = [{"q": "a?", "context": "b"}, {"q": " ", "context": ""}]
    corpus = corpus_of(write_rows(in_folder / f"a.{suffix}", rows), column=("question=q",))
    places = {"jsonl": ("a.jsonl:1", "a.jsonl:2"), "csv": ("a.csv:2", "a.csv:3"), "tsv": ("a.tsv:2", "a.tsv:3")}
    first, second = places.get(suffix, (f"a.{suffix} row 0", f"a.{suffix} row 1"))
    expected = [("0", "a?", "b", first, None), ("1", " ", "", second, None)]
    assert told(corpus) == expected
    assert told(corpus) == expected, "from the start again"
    assert [one.is_odd for one in corpus.examples()] == [False, True]


def test_ids(in_folder):
    one = write(
        in_folder / "a.jsonl",
        '{"question": "q", "context": "c", "id": 7}\n\n{"question": "q", "context": "c", "id": null}\n'
        '{"question": "q", "context": "c", "id": 1.0}\n{"question": "q", "context": "c", "id": true}\n'
        '{"question": "q", "context": "c", "id": "\\ud800"}\n{"question": "q", "context": "c", "id": ""}\n',
    )
    assert [(example.id, example.where, example.error) for example in corpus_of(one).examples()] == [
        ("7", "a.jsonl:1", None),
        ("1", "a.jsonl:3", None),
        ("2", "a.jsonl:4", "id is a number, neither text nor an integer"),
        ("3", "a.jsonl:5", "id is a truth value, neither text nor an integer"),
        ("4", "a.jsonl:6", "id holds a lone surrogate at character 0, which is not valid Unicode text"),
        ("5", "a.jsonl:7", None),
    ]
    two = write(in_folder / "b.csv", "id,question,context\n,q,c\nx,q,c\n")
    assert [example.id for example in corpus_of(one, two).examples()][5:] == ["a.jsonl:5", "b.csv:0", "x"]


def test_bad_rows_keep_what_could_be_read(in_folder):
    path = write(
        in_folder / "a.jsonl",
        '{"question": "q"}\n{"question": null, "context": "c"}\n{"question": 1, "context": "c"}\n'
        '{"question": "é\\udc00", "context": "c", "x": 5}\n{]\n',
    )
    assert told(corpus_of(path)) == [
        ("0", "q", None, "a.jsonl:1", "no field 'context'"),
        ("1", None, "c", "a.jsonl:2", "question is null"),
        ("2", None, "c", "a.jsonl:3", "question is a number, not text"),
        (
            "3",
            None,
            "c",
            "a.jsonl:4",
            "question holds a lone surrogate at character 1, which is not valid Unicode text",
        ),
        (
            "4",
            None,
            None,
            "a.jsonl:5",
            "invalid JSON (Expecting property name enclosed in double quotes, character 2 of the line)",
        ),
    ]
    kept = [example.kept for example in corpus_of(path, keep=("x",)).examples()]
    assert kept == [{"x": None}, {"x": None}, {"x": None}, {"x": 5}, {"x": None}]


def test_columns_that_are_not_there(tmp_path):
    path = write_rows(tmp_path / "a.csv", [{"q": "a", "context": "b"}])
    there = f"{path}: no column '{{}}'; there are 'q', 'context'; "
    assert problem(path) == there.format("question") + "name it with --column question=OLD"
    assert problem(path, column=("question=Q",)) == there.format("Q") + "check --column question=Q"
    assert problem(path, column=("question=q",), keep=("x",)) == there.format("x") + "check --keep x"
    renamed = problem(path, column=("question=q", "id=key"))
    assert renamed == there.format("key") + "check --column id=key"
    with pytest.raises(InputError) as caught:
        corpus_of(path, keep=("x", "y"))
    assert [line.split("'")[1] for line in caught.value.lines()] == ["question", "x", "y"]


def test_a_table_among_other_inputs(tmp_path):
    stray = write(tmp_path / "in" / "rows.csv", "name,price\na,b\n")
    told = f"{stray}: no column 'context'; there are 'name', 'price'; name it with --column context=OLD"
    move = ", or move the file, or name the inputs by a pattern that leaves it out"
    assert problem(tmp_path / "in", question=("q",)) == told
    write(tmp_path / "in" / "a.txt", "a")
    assert problem(tmp_path / "in", question=("q",)) == told + move
    (tmp_path / "in" / "a.txt").unlink()
    write_rows(tmp_path / "in" / "a.jsonl", [{"question": "a", "context": "b"}])
    with pytest.raises(InputError) as caught:
        corpus_of(tmp_path / "in")
    assert caught.value.lines()[1] == told + move


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_csv_with_other_delimiters(tmp_path, delimiter):
    path = write(tmp_path / "a.csv", delimiter.join(["question", "context"]) + "\n")
    assert f"columns seem to be parted by {delimiter!r}; save it with commas, or with tabs as .tsv" in problem(path)


def test_files_passed_over_are_told(tmp_path, caplog):
    write_rows(tmp_path / "in" / "a.jsonl", [{"question": "a", "context": "b"}])
    for name in ("b.pdf", "c.PDF", "d.docx", "Makefile", "e.x", ".hidden.pdf"):
        write(tmp_path / "in" / name, "")
    caplog.set_level("INFO")
    resolve([str(tmp_path / "in")])
    assert [one.message for one in caplog.records] == [
        f"{tmp_path / 'in'}: 5 files of other kinds passed over (.pdf, no suffix, .docx, …)"
    ]


def test_questions_that_share_an_id_are_told(tmp_path, caplog):
    documents = write_rows(tmp_path / "d.jsonl", [{"id": "d1", "context": "c"}])
    questions = write_rows(tmp_path / "q.jsonl", [{"id": name, "question": name} for name in "aba"])
    assert [one.id for one in corpus_of(documents, questions=questions).examples()] == ["d1/a", "d1/b", "d1/a"]
    assert [one.message for one in caplog.records] == [
        f"{questions}: several questions share an id (1 id, the first 'a'), and so do their answers"
    ]


def test_columns_that_are_not_text(tmp_path):
    table = pa.table({"question": [1], "context": [b"x"]})
    pq.write_table(table, tmp_path / "a.parquet")
    path = tmp_path / "a.parquet"
    expected = f"{path}: column 'question' is int64, not text; name another with --column question=OLD"
    assert problem(path) == expected
    assert "column 'context' is binary, not text" in problem(path, question=("q",))


def test_columns_that_are_there_twice(tmp_path):
    path, questions = tmp_path / "a.parquet", tmp_path / "q.parquet"
    names = ["question", "context", "id", "id"]
    pq.write_table(pa.table([["a"], ["b"], ["x"], ["y"]], names=names), path)
    assert problem(path) == problem(path, question=("q",)) == f"{path}: has 2 columns 'id'; rename them"
    pq.write_table(pa.table([["a"], ["d1"], ["d2"]], names=["question", "document_id", "document_id"]), questions)
    documents = write_rows(tmp_path / "d.jsonl", DOCUMENTS)
    assert problem(documents, questions=questions) == f"{questions}: has 2 columns 'document_id'; rename them"


def test_usage_errors_are_told_together(tmp_path):
    path = write_rows(tmp_path / "a.jsonl", [{"question": "a", "context": "b"}])
    assert problem(path, keep=("score", "document_id", "x"), column=("question=a", "question=b")) == (
        "--column question=b: 'question' is already read from 'a'; drop one\n"
        "--keep score: the output has its own column of that name; give it another one: "
        "--column input_score=score --keep input_score"
    )
    assert "--keep document_id: " in problem(path, keep=("document_id",), question=("q",))
    assert "--keep snippet: " in problem(path, keep=("snippet",), snippet=True)
    corpus = corpus_of(path, column=("input_question=question",), keep=("input_question",))
    assert next(corpus.examples()).kept == {"input_question": "a"}


def test_text_needs_questions(tmp_path):
    path = write(tmp_path / "a.md", "x")
    assert problem(path) == (
        f"{path}: is a document without a question; name rows with both (.jsonl, .csv, .parquet)"
    )
    assert told(corpus_of(path, question=("p?", "q?"))) == [
        ("a.md/q0", "p?", "x", str(path), None),
        ("a.md/q1", "q?", "x", str(path), None),
    ]


def test_limit(tmp_path):
    path = write_rows(tmp_path / "a.csv", [{"question": "q", "context": "c"}] * 5)
    assert len(told(corpus_of(path, limit=3))) == 3


def test_kept_types(tmp_path):
    rows = {"question": ["q"], "context": ["c"]}
    for name, x in (("a", pa.array([1], pa.int8())), ("b", pa.array([1], pa.int8())), ("c", pa.array([1.5]))):
        pq.write_table(
            pa.table({**rows, "x": x, "y": pa.array(["z"]).dictionary_encode()}), tmp_path / f"{name}.parquet"
        )
    a, b, c = (tmp_path / f"{name}.parquet" for name in "abc")
    assert corpus_of(a, b, keep=("x", "y")).kept_fields() == {"x": pa.int8(), "y": pa.string()}
    assert corpus_of(a, c, keep=("x",)).kept_fields() == {"x": None}
    line = write_rows(tmp_path / "d.jsonl", [{"question": "q", "context": "c"}])
    assert corpus_of(a, line, keep=("x",)).kept_fields() == {"x": None}


DOCUMENTS = [{"id": "d1", "context": "one", "k": 1}, {"id": "d2", "context": "two", "k": 2}]


@pytest.mark.parametrize("suffix", FORMATS)
def test_each_question_of_each_document(tmp_path, suffix):
    documents = write_rows(tmp_path / f"d.{suffix}", DOCUMENTS)
    questions = write_rows(tmp_path / f"q.{suffix}", [{"question": "a", "id": "x"}, {"question": "b", "id": "y"}])
    corpus = corpus_of(documents, questions=questions, keep=("k",))
    found = [(one.id, one.document_id, one.question_id, one.question, one.context) for one in corpus.examples()]
    assert found == [
        ("d1/x", "d1", "x", "a", "one"),
        ("d1/y", "d1", "y", "b", "one"),
        ("d2/x", "d2", "x", "a", "two"),
        ("d2/y", "d2", "y", "b", "two"),
    ]
    assert [str(one.kept["k"]) for one in corpus.examples()] == ["1", "1", "2", "2"]
    assert corpus.missing_documents() == []


def test_questions_of_named_documents(tmp_path):
    documents = write_rows(tmp_path / "d.jsonl", [*DOCUMENTS, {"context": "three"}, DOCUMENTS[0]])
    asked = [("d2", "a"), ("d1", "b"), ("d2", "c"), ("2", "d"), ("no\x1b", "e"), ("", "f")]
    rows = [{"document_id": name, "question": text, "topic": text} for name, text in asked]
    questions = write_rows(tmp_path / "q.csv", rows)
    corpus = corpus_of(documents, questions=questions, keep=("topic",))
    found = [(one.id, one.question, one.context, one.kept["topic"], one.error) for one in corpus.examples()]
    assert found == [
        ("d1/q1", "b", "one", "b", None),
        ("d2/q0", "a", "two", "a", None),
        ("d2/q2", "c", "two", "c", None),
        ("2/q3", "d", "three", "d", None),
        ("d1/q1", "b", "one", "b", None),
        ("no\x1b/q4", "e", None, "e", "no document has the id 'no\\x1b'"),
        ("/q5", "f", None, "f", "no document has the id ''"),
    ]
    assert [question.document_id for question in corpus.missing_documents()] == ["no\x1b", ""]
    assert [example.where for example in corpus.examples()][-1].endswith("/q.csv:7")


def test_ids_are_read_until_all_named_documents_are_found(tmp_path):
    documents = [write_rows(tmp_path / f"{name}.jsonl", [{"id": name, "context": "c"}]) for name in "abc"]
    questions = write_rows(tmp_path / "q.csv", [{"document_id": "b", "question": "a"}])
    corpus = corpus_of(*documents, questions=questions)
    documents[2].unlink()
    assert corpus.missing_documents() == []
    documents[1].unlink()
    with pytest.raises(InputError):
        corpus.missing_documents()


def test_lines_are_counted_where_all_files_together_are_small(tmp_path, monkeypatch):
    rows = [{"question": "q", "context": "c"}] * 3
    paths = [write_rows(tmp_path / f"{name}.jsonl", rows) for name in "abc"]
    size = paths[0].stat().st_size
    for limit, total in ((3 * size, 9), (3 * size - 1, None)):
        monkeypatch.setattr("qatool.files.formats.counting.COUNTED_BYTES", limit)
        assert corpus_of(*paths).total() == total
    csv, records = write_rows(tmp_path / "a.csv", rows), write_rows(tmp_path / "a.json", rows)
    assert corpus_of(csv).total() is None
    monkeypatch.setattr("qatool.files.formats.counting.COUNTED_BYTES", 32 * csv.stat().st_size)
    assert corpus_of(csv).total() == 3
    assert corpus_of(records).total() is None, "records are longer in JSON"
    monkeypatch.undo()
    assert corpus_of(records, csv, *paths).total() == 15
    parquet = write_rows(tmp_path / "a.parquet", rows)
    assert corpus_of(parquet).total() == 3


def test_paragraphs_are_the_documents_of_squad(tmp_path):
    qas = [{"id": f"q{number}", "question": "q", "answers": []} for number in range(5)]
    squad = write(tmp_path / "a.json", json.dumps({"data": [{"paragraphs": [{"context": "c", "qas": qas}] * 2}]}))
    assert corpus_of(squad).total() == 10
    asked = corpus_of(squad, question=("a", "b", "c"))
    assert asked.documents is not None
    assert (asked.documents.total_documents(), asked.total(), len(list(asked.examples()))) == (2, 6, 6)


def test_bad_documents(tmp_path):
    documents = write(tmp_path / "d.jsonl", '{"id": "d1"}\n{]\n{"id": 1.5, "context": "c"}\n')
    corpus = corpus_of(documents, question=("a", "b"))
    missing, unread = "no field 'context'", "invalid JSON (Expecting property name enclosed in double quotes"
    found = [(one.id, one.question, (one.error or "").partition(",")[0]) for one in corpus.examples()]
    assert found == [
        ("d1/q0", "a", missing),
        ("d1/q1", "b", missing),
        ("1/q0", "a", unread),
        ("1/q1", "b", unread),
        ("2/q0", "a", "id is a number"),
        ("2/q1", "b", "id is a number"),
    ]
    questions = write_rows(tmp_path / "q.jsonl", [{"document_id": "d1", "question": "a"}])
    found = [(one.id, one.question, one.question_id) for one in corpus_of(documents, questions=questions).examples()]
    assert found == [("d1/q0", "a", "q0"), ("1", None, None), ("2", None, None)]


def test_bad_questions(tmp_path):
    documents = write_rows(tmp_path / "d.jsonl", DOCUMENTS[:1])
    questions = write(tmp_path / "q.jsonl", '{"question": "a"}\n{"question": 5}\n')
    assert problem(documents, questions=questions) == (
        f"{questions}:2: question is a number, not text; mend the row, or add --on-error skip to set such rows aside"
    )
    skipping = corpus_of(documents, questions=questions, on_error="skip")
    assert told(skipping) == [
        ("d1/q0", "a", "one", f"{documents}:1", None),
        ("q1", None, None, f"{questions}:2", "question is a number, not text"),
    ]
    write(
        questions,
        '{"question": "a", "document_id": "d1"}\n{"question": "b", "document_id": null}\n{"question": "c"}\n',
    )
    bad = [one.error for one in corpus_of(documents, questions=questions, on_error="skip").examples()]
    assert bad == [None, "document_id is null", "document_id is null"]


def test_renames_reach_documents_and_questions(tmp_path):
    documents = write_rows(tmp_path / "d.csv", [{"key": "d1", "text": "one"}])
    questions = write_rows(tmp_path / "q.csv", [{"id": "x", "ask": "a", "doc": "d1"}])
    renames = ("id=key", "context=text", "question=ask", "document_id=doc")
    assert told(corpus_of(documents, questions=questions, column=renames)) == [
        ("d1/x", "a", "one", f"{documents}:2", None)
    ]
    assert "no column 'nowhere'" in problem(
        documents, questions=questions, column=(*renames, "z=nowhere"), keep=("z",)
    )
    assert problem(documents, questions=write(tmp_path / "q.md", "?")).endswith("use .jsonl, .csv or .parquet")


def test_a_paragraph_of_nested_squad_is_one_document(tmp_path) -> None:
    questions = [{"id": f"a{n}", "question": "?", "answers": []} for n in range(3)]
    paragraphs = [{"context": "One.", "qas": questions}, {"context": "Two.", "qas": [{"id": "b", "question": "?"}]}]
    path = tmp_path / "dev.json"
    path.write_text(json.dumps({"data": [{"title": "t", "paragraphs": paragraphs}]}))
    corpus = corpus_of(path, question=["Who?", "When?"])
    assert [example.id for example in corpus.examples()] == ["a0/q0", "a0/q1", "b/q0", "b/q1"]


def test_documents_of_json_that_are_alike_are_several(tmp_path) -> None:
    rows = [
        {"id": name, "context": context} for name, context in zip("abcde", ["", "", "x", "x", "Paris"], strict=True)
    ]
    for suffix in ("json", "jsonl"):
        corpus = corpus_of(write_rows(tmp_path / f"a.{suffix}", rows), question=("Who?",))
        assert [one.id for one in corpus.examples()] == ["a/q0", "b/q0", "c/q0", "d/q0", "e/q0"]


def test_paragraphs_are_documents_whatever_their_questions(tmp_path) -> None:
    paragraphs = [
        {"context": "one"},
        {"context": "two", "qas": []},
        {"qas": [1, {"id": "x", "question": "y"}, 2], "context": "three"},
        {"context": b"\xff".decode("latin-1"), "qas": [{"id": "z"}, {"id": "w"}]},
    ]
    path = write(tmp_path / "a.json", json.dumps({"data": [{"title": "t", "paragraphs": paragraphs}]}))
    corpus = corpus_of(path, question=("Who?",), keep=("title",))
    assert [(one.id, one.context, one.error, one.kept["title"]) for one in corpus.examples()] == [
        ("0/q0", "one", None, "t"),
        ("1/q0", "two", None, "t"),
        ("x/q0", "three", None, "t"),
        ("z/q0", "\xff", None, "t"),
    ]
    broken = path.read_bytes().replace(b"\\u00ff", b"\xff")
    corpus = corpus_of(write(tmp_path / "b.json", broken), question=("Who?",))
    assert [one.error for one in corpus.examples()][:3] == [None] * 3
    assert "not valid UTF-8" in str([one.error for one in corpus.examples()][3:])
    assert len(list(corpus.examples())) == 4


def test_a_rename_of_what_nothing_reads_is_refused(tmp_path) -> None:
    path = write_rows(tmp_path / "a.jsonl", [{"question": "q", "context": "c", "key": "k"}])
    assert problem(path, column=("idd=key",)) == (
        "--column idd=key: nothing is read as 'idd'; there are id, question, context, document_id, answers, "
        "is_impossible, and what --keep names"
    )
    assert [one.id for one in corpus_of(path, column=("id=key",)).examples()] == ["k"]


def test_a_batch_pays_for_the_entries_of_a_dictionary_that_it_uses(tmp_path, monkeypatch) -> None:
    texts = [f"text {number}" for number in range(4000)]
    table = pa.table({"question": texts, "context": pa.array([*texts[:-1], None]).dictionary_encode()})
    pq.write_table(table, tmp_path / "a.parquet")
    made = []
    genuine = parquet._cells
    monkeypatch.setattr(parquet, "_cells", lambda column: made.append(len(column)) or genuine(column))
    examples = list(corpus_of(tmp_path / "a.parquet").examples())
    assert [one.context for one in examples] == [*texts[:-1], None]
    assert sum(made) <= 4 * len(texts)


def squad(path, *questions) -> Path:
    """Write SQuAD with a paragraph for each question."""
    paragraphs = [{"context": "c", "qas": [{"id": "1", "question": "q"} | one]} for one in questions]
    return write(path, json.dumps({"version": "2.0", "data": [{"title": "t", "paragraphs": paragraphs}]}))


@pytest.mark.parametrize("question", [(), ("q",)])
def test_fields_that_squad_does_not_have(tmp_path, question):
    path = squad(tmp_path / "a.json", {}, {"level": 3})
    there = f"{path}: no field '{{}}'; there are 'id', 'question', 'answers', 'title', 'context', 'level'; check "
    options = {"question": question}
    assert problem(path, keep=("titel",), **options) == there.format("titel") + "--keep titel"
    renamed = "--column context=body"
    assert problem(path, column=("context=body",), **options) == there.format("body") + renamed
    assert problem(path, column=("id=key",), **options) == there.format("key") + "--column id=key"


def test_fields_that_some_questions_of_squad_have(tmp_path):
    path = squad(tmp_path / "a.json", {}, {"level": 3, "text": "other"})
    kept = [example.kept for example in corpus_of(path, keep=("level", "title", "plausible_answers")).examples()]
    assert kept == [{"level": level, "title": "t", "plausible_answers": None} for level in (None, 3)]
    asked = [example.question for example in corpus_of(path, column=("question=text",)).examples()]
    assert asked == [None, "other"]
    in_folder = squad(tmp_path / "year=2024" / "a.json", {})
    assert [example.kept for example in corpus_of(in_folder, keep=("year",)).examples()] == [{"year": 2024}]
    assert "there are 'id', 'question', 'answers', 'title', 'context', 'year'; check --keep yaer" in problem(
        in_folder, keep=("yaer",)
    )


@pytest.mark.parametrize("content", ['[{"question": "q", "context": "c"}]', '{"data": []}'])
def test_records_have_fields_of_their_own(tmp_path, content):
    corpus = corpus_of(write(tmp_path / "a.json", content), keep=("other",))
    assert all(example.kept == {"other": None} for example in corpus.examples())
    assert corpus.unseen_columns() == ["other"]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (1, "a number"),
        (Decimal("1.5"), "a number"),
        (True, "a truth value"),
        (["a"], "a list"),
        ({"a": 1}, "an object"),
        (b"a", "binary data"),
        (date(2024, 1, 2), "a time"),
        (timedelta(1), "a value of another kind"),
    ],
)
def test_what_a_value_is_instead_of_text(value, kind):
    assert text_problem("question", {"q": value}, "q") == f"question is {kind}, not text"
    if type(value) is not int:
        assert id_problem("id", value) == f"id is {kind}, neither text nor an integer"


def test_reasons_that_several_rows_share_are_told_without_numbers():
    reasons = RejectReasons()
    for reason in (
        "has 3 fields where the header names 2",
        "question holds a lone surrogate at character 7, which is not valid Unicode text",
        "invalid JSON (Extra data, character 1,234 of the line)",
        "has 1 field where the header names 2",
        "has 4 fields where the header names 2",
        "invalid JSON (nested too deeply)",
    ):
        reasons.add(reason)
    assert reasons.most_common() == {
        "has … fields where the header names …": 2,
        "invalid JSON": 2,
        "question holds a lone surrogate at character 7, which is not valid Unicode text": 1,
        "has 1 field where the header names 2": 1,
    }
