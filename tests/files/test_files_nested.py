from __future__ import annotations

import json
import subprocess
import sys

import pytest
from filehelpers import corpus_of, rows_of, write

from qatool.errors import InputError
from qatool.files.formats.nested import EXPECTED


def squad(*paragraphs, **article):
    return {"version": "2.0", "data": [{"title": "T", **article, "paragraphs": list(paragraphs)}], "x": [{}]}


def values_of(path, columns=None):
    return [row.values for row in rows_of(path, columns)]


QUESTION = {"id": "1", "question": "q?", "answers": [{"text": "b", "answer_start": 2}]}
EMPTY = {"id": "2", "question": "r?", "answers": [], "is_impossible": True, "plausible": 1.5}
UNLABELLED = {"id": 3, "question": "s?"}


def test_squad_rows_share_their_context(tmp_path):
    content = squad({"context": "a b", "qas": [QUESTION, EMPTY, UNLABELLED]}, {"context": "none", "qas": []})
    rows = values_of(write(tmp_path / "a.json", json.dumps(content)))
    labels = {"text": ["b"], "answer_start": [2]}
    around = {"title": "T", "context": "a b"}
    assert rows == [
        {"id": "1", "question": "q?", "answers": labels, **around},
        {**EMPTY, "answers": {"text": [], "answer_start": []}, **around},
        {"id": 3, "question": "s?", "answers": None, **around},
    ]
    assert rows[0]["context"] is rows[2]["context"]


def test_any_order_of_keys(tmp_path):
    text = '{"data": [{"paragraphs": [{"qas": [{"question": "q"}], "context": "c"}], "title": "late"}], "v": 1}'
    path = write(tmp_path / "a.json", text)
    assert values_of(path) == [{"question": "q", "answers": None, "context": "c", "title": "late"}]
    assert values_of(path, {"question"}) == [{"question": "q"}]
    assert values_of(path, {"question", "title"}) == [{"question": "q", "title": "late"}]


def test_squad_that_gives_a_key_twice(tmp_path):
    qas = '"qas": [{"question": "q", "question": "r", "id": "1"}, {"question": "s", "x": 1, "x": 2}]'
    once, twice = '"context": "c"', '"context": "c", "context": "d"'
    for paragraph, context, errors in (
        (f"{once}, {qas}", "c", ["duplicate key 'question'", None]),
        (f"{qas}, {once}", "c", ["duplicate key 'question'", None]),
        (f"{twice}, {qas}", None, ["duplicate key 'question'", "duplicate key 'context'"]),
        (f"{qas}, {twice}", None, ["duplicate key 'question'", "duplicate key 'context'"]),
    ):
        path = write(tmp_path / "a.json", f'{{"data": [{{"paragraphs": [{{{paragraph}}}]}}]}}')
        rows = rows_of(path, {"id", "question", "context"})
        assert [row.error for row in rows] == errors
        assert [row.values["question"] for row in rows] == [None, "s"]
        assert [row.values["context"] for row in rows] == [context, context]


@pytest.mark.parametrize(("qas", "kind"), [('{"id": "b"}', "an object"), ('"x"', "a string"), ("null", None)])
def test_questions_that_are_no_array_make_a_bad_row(tmp_path, qas, kind):
    paragraphs = f'{{"context": "c", "qas": {qas}}}, {{"context": "d", "qas": [{{"question": "q"}}]}}'
    path = write(tmp_path / "a.json", f'{{"data": [{{"paragraphs": [{paragraphs}]}}]}}')
    expected = [None] if kind is None else [f"qas is {kind}, not an array", None]
    assert [row.error for row in rows_of(path)] == expected


@pytest.mark.parametrize("wrap", [lambda rows: rows, lambda rows: {"version": 1, "data": rows}])
def test_records(tmp_path, wrap):
    rows = [{"question": "q", "context": "c", "n": [1, 2.5, -0.1, 10**30, 1e400, None, True, {"a": {}}]}, {}]
    path = write(tmp_path / "a.json", "\ufeff" + json.dumps(wrap([*rows, 3, None])).replace("Infinity", "1e400"))
    read = rows_of(path)
    assert [row.values for row in read] == [*rows, None, None]
    assert [row.error for row in read[2:]] == ["is a number, not an object", "is null, not an object"]
    assert isinstance(read[0].values["n"][0], int)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", ":1: the JSON breaks off (complete the file), before the first row"),
        (" \n", ": the JSON breaks off (complete the file), before the first row"),
        ('[{"a": 1},\n{"a": 2', ": the JSON breaks off (complete the file), after row 0"),
        ("3", f": is a number; {EXPECTED}"),
        ('{"a": []}', f": an object without 'data'; {EXPECTED}"),
        ('{"data": {}}', f": 'data' is no array; {EXPECTED}"),
        ("[" + '{"a":' * 200 + "1", ": values nested deeper than 100, before the first row; flatten them"),
    ],
)
def test_other_shapes(tmp_path, content, message):
    path = write(tmp_path / "a.json", content)
    with pytest.raises(InputError) as caught:
        rows_of(path)
    assert str(caught.value).replace(f"{path}:2:", f"{path}:") == f"{path}{message}"


@pytest.mark.parametrize("broken", ["{'a': 1}", '{"a" 1}', '{"a": NaN}', '{"a": "\n"}', "x"])
def test_broken_json_is_placed(tmp_path, broken):
    good = '{"question": "qé", "context": "c"},\n' * 40_000
    path = write(tmp_path / "a.json", f"[{good}{broken}, {good}{{}}]")
    with pytest.raises(InputError) as caught:
        rows_of(path)
    line = 40_002 if "\n" in broken else 40_001
    assert str(caught.value).startswith(f"{path}:{line}: invalid JSON (")
    assert "\n" not in str(caught.value)
    assert ", after row " in str(caught.value)


def test_surrogates_make_bad_rows_and_nothing_else(tmp_path):
    texts = [
        r"\ud800x",
        r"\ud800\u0041",
        r"\uDC00",
        r"\\ud800",
        r"\ud83d\ude00",
        r"a\\\ud800",
        "\ufdd0d800\ufdd1",
    ]
    body = ", ".join(f'{{"question": "q", "context": "{text}"}}' for text in texts)
    found = list(corpus_of(write(tmp_path / "a.json", f"[{body}]")).examples())
    where = "context holds a lone surrogate at character {}, which is not valid Unicode text".format
    assert [example.error for example in found[:6]] == [where(0), where(0), where(0), None, None, where(2)]
    assert [example.context for example in found[3:5]] == [r"\ud800", "😀"]
    clean = write(tmp_path / "b.json", '[{"question": "q", "context": "\ufdd0d800\ufdd1"}]')
    assert next(corpus_of(clean).examples()).context == "\ufdd0d800\ufdd1"


def test_stray_bytes_make_bad_rows(tmp_path):
    body = b'[{"question": "q", "context": "a\xff"}, {"question": "q", "context": "\xed\xa0\x80"}, '
    path = write(tmp_path / "a.json", body + '{"question": "é", "context": "c"}]'.encode())
    found = list(corpus_of(path).examples())
    bad = "context is not valid UTF-8"
    assert [(one.question, one.context, one.error) for one in found] == [
        ("q", None, bad),
        ("q", None, bad),
        ("é", "c", None),
    ]


def test_escapes_across_chunks(tmp_path):
    text = "\U0001f600\\é\u4e2d" * 60_000
    path = write(tmp_path / "a.json", json.dumps([{"context": text}]) + " " * 70_000)
    assert values_of(path) == [{"context": text}]
    path = write(tmp_path / "b.json", json.dumps([{"context": text + "\ud800"}]))
    assert values_of(path) == [{"context": text + "\ud800"}]


def test_memory_does_not_grow_with_the_file(tmp_path):
    """A 40 MB file in one article; the peak of a fresh process is compared with that of a tiny file."""
    qas = [{"id": str(n), "question": "what is it?", "answers": [{"text": "x", "answer_start": 0}]} for n in range(5)]
    paragraph = json.dumps({"context": "x" * 3000, "qas": qas})
    big = write(
        tmp_path / "big.json",
        f'{{"data": [{{"title": "t", "paragraphs": [{", ".join([paragraph] * 11_700)}]}}]}}',
    )
    small = write(tmp_path / "small.json", f'{{"data": [{{"title": "t", "paragraphs": [{paragraph}]}}]}}')
    assert big.stat().st_size > 40e6
    code = (
        "import resource, sys; from qatool.files.formats.readers import open_reader\n"
        "from qatool.files.sources.paths import resolve\n"
        "rows = sum(1 for _ in open_reader(resolve(sys.argv[1:])[0]).rows({'question', 'context', 'id'}))\n"
        "print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = {}
    for path in (small, big):
        done = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True)
        peaks[path] = [int(word) for word in done.stdout.split()]
    assert peaks[big][0] == 58_500
    assert peaks[big][1] - peaks[small][1] < 30_000, "kibibytes"
