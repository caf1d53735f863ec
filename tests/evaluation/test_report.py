"""``qatool report``: what is on the page, and that nothing from the data acts there."""

from __future__ import annotations

import builtins
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest
from browser import HOSTILE, check, make
from evalhelpers import answer, reference, write_answers, write_references
from hypothesis import given
from hypothesis import strategies as st

from qatool import cli
from qatool.evaluation.reading.answers import load_answers
from qatool.evaluation.report.charts import length_chart, score_chart, speed_chart
from qatool.evaluation.report.choice import choose
from qatool.evaluation.report.markup import isolated, shown


class Page(HTMLParser):
    """The elements of a page, and the text of each kind."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data) -> None:
        self.text.append(data)


CANDIDATE = {"answer": "cat", "score": 0.5, "answer_start": 0, "answer_end": 3}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return make(tmp_path_factory.mktemp("report"))


def test_nothing_from_the_data_becomes_markup(hostile) -> None:
    text = hostile.read_text(encoding="utf-8")
    page = Page(text)
    assert page.tags.count("script") == 1
    assert not {"img", "iframe", "object", "link", "a", "form", "base"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    links = {value for name, value in page.attributes if name in {"href", "xlink:href", "src"}}
    assert all(value and value.startswith("#") for value in links)
    assert HOSTILE[0] in "".join(page.text)


def test_the_policy_names_the_only_script(hostile) -> None:
    import base64
    import hashlib

    text = hostile.read_text(encoding="utf-8")
    script = re.search(r"<script>(.*)</script>", text, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script.group(1).encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'" in text


@given(st.text(max_size=40))
def test_any_text_comes_back_as_text(text) -> None:
    page = Page(f"<p>{isolated(text)}</p>")
    assert page.tags == ["p", "bdi"]
    assert '"' not in shown(text)
    assert "<" not in shown(text)


def test_characters_that_change_direction_are_spelled_out() -> None:
    marks = "\u061c\u200e\u200f\u202a\u202e\u2066\u2069"
    assert shown(f"a{marks}b") == "a" + "".join(f"\\u{ord(mark):04x}" for mark in marks) + "b"


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Debian's chromium (apt install chromium)")
@pytest.mark.slow
def test_in_a_browser(hostile) -> None:
    assert check(hostile) == []


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [answer(f"q{n}", f"text {n}", score=n / 1000, no_answer_score=0.1) for n in range(1000)]
    rows[7] = answer("q7", None, "cat", score=0.9, no_answer_score=0.8)
    rows[8] = answer("q8", None, error="context is null", score=None, no_answer_score=None)
    write_answers(tmp_path / "answers.parquet", *rows)
    right = [reference(f"q{n}", f"text {n}" if n % 2 else "no") for n in range(1000)]
    write_references(tmp_path / "ref.jsonl", *right)
    return tmp_path


def report(capsys, *words: str) -> tuple[str, str]:
    assert cli.run(["report", "answers.parquet", "-o", "page.html", *words]) == 0, capsys.readouterr().err
    from pathlib import Path

    return Path("page.html").read_text(encoding="utf-8"), capsys.readouterr().err


def test_a_choice_is_shown_and_said(files, capsys) -> None:
    text, err = report(capsys, "--references", "ref.jsonl", "--most", "5")
    assert re.fullmatch(r"page\.html: \d+ of 1,000 answers shown, 0\.\d MB\n", err)
    assert (
        "answers are shown, a choice: 5 of 998 most certain, 5 of 998 least certain, 5 of 500 wrong, "
        "1 of 1 no answer, 1 of 1 rejected, 5 of 1,000 drawn at random; an answer may be among several."
    ) in text
    cards = re.findall(r'<article tabindex="0" data-groups="([a-z ]+)">', text)
    assert cards.count("rejected") == 1
    assert "Rejected: <bdi>context is null</bdi>" in text
    assert text.count("<svg") == 4
    assert "<dt>exact match</dt><dd>49.90<small>" in text


def test_the_same_answers_give_the_same_page(files, capsys) -> None:
    assert report(capsys) == report(capsys)


def test_all_are_shown_when_there_is_room(files, capsys) -> None:
    assert "All 1,000 answers are shown." in report(capsys, "--most", "1000")[0]


def test_a_page_stays_below_5_mb(files, capsys) -> None:
    rows = [answer(f"q{n}", "\u202e\U0001f600" * 400, "\u202e" * 500, "b" * 500, "c" * 500) for n in range(3000)]
    write_answers(files / "answers.parquet", *rows)
    text, _ = report(capsys, "--most", "3000")
    assert 3_900_000 < len(text.encode()) < 5_000_000
    assert re.search(r"[\d,]+ of 3,000 answers are shown, a choice", text)


def test_a_page_that_is_cut_says_what_is_on_it(files, capsys) -> None:
    rows = [answer(f"q{n}", "\u202e" * 500, "\u202e" * 500, "b" * 500, score=n / 3000) for n in range(3000)]
    rows += [answer(f"r{n}", None, error="context is null") for n in range(10)]
    write_answers(files / "answers.parquet", *rows)
    write_references(files / "corpus.jsonl", {"id": "q1", "question": "Other?", "context": "Changed."})
    text, err = report(capsys, "--most", "1500", "--corpus", "corpus.jsonl")
    cards = [groups.split() for groups in re.findall(r'data-groups="([a-z ]+)">', text)]
    held = {name: sum(name in groups for groups in cards) for name in ("certain", "uncertain", "rejected", "random")}
    assert 0 < held["certain"] < 1500
    assert (held["uncertain"], held["rejected"]) == (0, 0)
    assert (
        f"{len(cards):,} of 3,010 answers are shown, a choice: {held['certain']:,} of 3,000 most certain, "
        f"0 of 3,000 least certain, 0 of 10 rejected, {held['random']:,} of 3,010 drawn at random;"
    ) in text
    assert re.findall(r'data-group="(\w+)"', text) == ["certain", "random"]
    assert re.fullmatch(
        rf"page\.html: {len(cards):,} of 3,010 answers shown, \d\.\d MB; {len(cards):,} of them are not in .*\n", err
    )


def test_answers_that_the_corpus_no_longer_has(files, capsys) -> None:
    write_references(files / "corpus.jsonl", {"id": "q1", "question": "Other?", "context": "Changed."})
    rows = [answer("q1", "x") | {"fingerprint": b"0" * 16}]
    write_answers(files / "answers.parquet", *rows)
    assert report(capsys, "--corpus", "corpus.jsonl")[1].endswith("1 of them are not in the corpus as it is now\n")


def test_lines_of_answers(files, capsys) -> None:
    lines = [json.dumps(answer("q1", "cat", "cat", "dog")), json.dumps(answer("q2", None))]
    (files / "a.jsonl").write_text("\n".join(lines))
    assert cli.run(["report", "a.jsonl", "-o", "page.html"]) == 0
    assert capsys.readouterr().err.startswith("page.html: 2 of 2 answers shown")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"question": ...}, "no question"),
        ({"error": ...}, "no error"),
        ({"candidates": ...}, "no candidates"),
        ({"candidates": [{"answer": "cat", "score": 0.5}]}, "a candidate without answer, score or offsets"),
        ({"candidates": [CANDIDATE | {"score": "high"}]}, "a candidate without answer, score or offsets"),
        ({"candidates": [CANDIDATE | {"answer_end": 3.0}]}, "a candidate without answer, score or offsets"),
    ],
)
def test_lines_that_lack_what_is_shown(files, capsys, change, told) -> None:
    row = {name: value for name, value in (answer("q2", "cat") | change).items() if value is not ...}
    (files / "a.jsonl").write_text("\n".join(map(json.dumps, [answer("q1", "cat"), row])))
    assert cli.run(["report", "a.jsonl", "-o", "page.html"]) == 3
    assert capsys.readouterr().err == f"Error: a.jsonl row 1: {told}; name answers as qatool extract wrote them\n"


def test_lines_without_a_no_answer_score_will_do(files, capsys) -> None:
    (files / "a.jsonl").write_text(json.dumps(answer("q1", "cat", no_answer_score=None)))
    assert cli.run(["report", "a.jsonl", "-o", "page.html"]) == 0


def test_a_summary_that_cannot_be_read_is_told_with_file_and_reason(files, capsys) -> None:
    (files / "answers.parquet.summary.json").write_text("{")
    told = report(capsys)[1].splitlines()
    assert re.fullmatch(
        r"\S+ WARNING the summary cannot be read file=answers\.parquet\.summary\.json reason=.*line 1.*", told[0]
    )
    assert len(told) == 2


@pytest.mark.parametrize(
    ("threshold", "rule"),
    [(0.5, "No answer where the no-answer score exceeds 0.5."), (None, "Every question is answered.")],
)
def test_what_made_the_answers_is_told(files, threshold, rule) -> None:
    told = {"model": "dir/<b>", "backend": "torch", "precision": "fp32", "device": "cpu"}
    written = json.dumps(told | {"no_answer_threshold": threshold})
    (files / "answers.parquet.summary.json").write_text(written)
    assert cli.run(["report", "answers.parquet", "-o", "page.html"]) == 0
    text = (files / "page.html").read_text()
    assert f"Answered by dir/<b> (torch, fp32, cpu). {rule}" in Page(text).text
    assert "<b>" not in text


def test_the_choice_is_by_score(files) -> None:
    groups = {group.name: group for group in choose(load_answers("answers.parquet"), None, most=3)}
    assert groups["certain"].rows == [999, 998, 997]
    assert groups["uncertain"].rows == [0, 1, 2]
    assert (groups["none"].rows, groups["rejected"].rows) == ([7], [8])
    assert groups["random"].rows == sorted(groups["random"].rows)


def test_charts_of_nothing_and_of_much() -> None:
    nothing = np.array([])
    assert "<svg" in score_chart(nothing, nothing)
    assert "<svg" in length_chart(nothing.astype(np.int64))
    chart = speed_chart([{"seconds": 10.0, "examples": 100}, {"seconds": 20.0, "examples": 150}])
    assert "examples a second" in chart
    assert "<metadata" not in chart
    assert "#01020" not in chart


def test_problems(files, capsys, monkeypatch) -> None:
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": [1]}), "other.parquet")
    cases = {
        "other.parquet -o p.html": (3, "other.parquet: holds no answers; name what qatool extract wrote"),
        "gone.parquet -o p.html": (3, "gone.parquet: no such file or folder; check the path"),
        "answers.parquet -o p.pdf": (2, "-o p.pdf: is no name of a page; end it in .html"),
        "answers.parquet -o no/p.html": (9, "no/p.html: the folder no does not exist; create it first"),
        "answers.parquet -o p.html --partial": (2, "--partial: has no meaning without --references; drop it"),
        "answers.parquet -o p.html --resamples 1000001": (2, "--resamples 1000001: must be at most 1000000"),
        "answers.parquet -o p.html --most 0": (2, "--most 0: must be at least 1"),
    }
    for words, (code, message) in cases.items():
        assert cli.run(["report", *words.split()]) == code
        assert capsys.readouterr().err == f"Error: {message}\n"
    imports = builtins.__import__

    def without_matplotlib(name, *rest, **more):
        if name == "matplotlib":
            raise ImportError(name)
        return imports(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without_matplotlib)
    assert cli.run(["report", "answers.parquet", "-o", "p.html"]) == 4
    assert capsys.readouterr().err == (
        "Error: report: needs matplotlib, which is not installed; run: pip install 'qatool[report]'\n"
    )


def test_ids_need_not_be_unique_where_nothing_is_evaluated(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    write_answers(tmp_path / "a.parquet", answer("q1", "cat"), answer("q1", "dog"))
    assert cli.run(["report", "a.parquet", "-o", "page.html"]) == 0, capsys.readouterr().err
    write_references(tmp_path / "r.jsonl", reference("q1", "cat"))
    assert cli.run(["report", "a.parquet", "-o", "page.html", "--references", "r.jsonl"]) == 3
    assert "is there twice" in capsys.readouterr().err
