"""The summary at the end of a run, and answers highlighted in their contexts."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qatool.cli.show.sample import AROUND, answer_in_context, sample_texts
from qatool.cli.show.summary import show_summary, summary_lines
from qatool.extraction.answering.sample import Sample
from qatool.logs import harmless


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def sample(context: str, answer: str | None, question: str = "Who?") -> Sample:
    start = None if answer is None else context.index(answer)
    end = None if start is None else start + len(answer or "")
    return Sample(id="q1", question=question, context=context, answer_start=start, answer_end=end, score=0.931)


def test_plain_summary(summary) -> None:
    stream = io.StringIO()
    show_summary(summary, [sample("It was Ada.", "Ada")], stream=stream)
    assert stream.getvalue() == (
        "200 examples: 170 answered, 30 no answer, 0 rejected; 41.2 examples/s, 45.0 windows/s in 4.9 s\n"
        "model tiny on cpu (torch, fp32)\n"
        "answers in answers.parquet\n"
    )


def test_plain_summary_of_everything(summary) -> None:
    reasons = {"invalid JSON": 9, "null\ncontext": 2, "a": 1, "b": 1, "c": 1, "d": 4, "e": 3}
    summary |= {"examples": 12345, "odd": 1, "rejected": 21, "reject_reasons": reasons, "windows_read": 200}
    summary |= {"rejects": "a.rejects.jsonl", "output": "-"}
    stream = io.StringIO()
    show_summary(summary, [], stream=stream)
    assert stream.getvalue().splitlines() == [
        (
            "12,345 examples: 170 answered, 30 no answer, 21 rejected; 41.2 examples/s, 45.0 windows/s "
            "in 4.9 s (200 of 220 windows read)"
        ),
        "1 example with an empty question or context, so without an answer",
        r"rejected: 9 invalid JSON, 4 d, 3 e, 2 null\x0acontext, 1 a, 2 other reasons",
        "model tiny on cpu (torch, fp32)",
        "answers in standard output",
        "rejected rows in a.rejects.jsonl",
    ]
    assert summary_lines(summary | {"examples": 1})[0].startswith("1 example: ")


def test_summary_of_the_best_answers(summary) -> None:
    summary |= {"questions": 30, "questions_answered": 29}
    assert summary_lines(summary)[0].startswith(
        "30 questions: 29 answered, 1 no answer, 0 rejected; asked of documents 200 times; 41.2 examples/s"
    )


def test_the_summary_tells_of_questions_that_were_cut(summary) -> None:
    lines = summary_lines({**summary, "truncated_questions": 1})
    assert "1 example with a question cut to the length of --max-question-length" in lines
    assert not any("question cut" in line for line in summary_lines(summary))


def test_summary_of_answers_taken_over(summary) -> None:
    assert "0 rejected; 7 taken over from earlier answers; 41" in summary_lines(summary | {"taken_over": 7})[0]


def test_where_most_have_no_answer_the_summary_says_what_decides(summary) -> None:
    few = summary | {"answered": 30, "no_answer": 170}
    assert summary_lines(few)[1] == (
        "no answer is where no_answer_score exceeds 0.375; a higher --no-answer-threshold, or --always-answer, gives "
        "more"
    )
    assert summary_lines(few | {"no_answer_threshold": None})[1].startswith("model ")
    assert summary_lines(few | {"questions": 30, "questions_answered": 29})[1].startswith("model ")


def test_on_a_terminal_the_answer_stands_out(summary, monkeypatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    hostile = sample("[red]\x1b[2J[/nope] It was Ada\nLovelace :smile:", "Ada", question="[bold]Who\x1b[0m?")
    show_summary(summary, [hostile, sample("x", None)], stream=stream)
    text = stream.getvalue()
    assert re.search(r"\x1b\[[\d;]*mAda\x1b\[0m⏎Lovelace :smile:", text)
    plain = [line.rstrip() for line in re.sub(r"\x1b\[[\d;]*m", "", text).splitlines()]
    assert plain[:6] == [
        r"[bold]Who\x1b[0m?  0.93  q1",
        r"  [red]\x1b[2J[/nope] It was Ada⏎Lovelace :smile:",
        "",
        "Who?  0.93  q1",
        "  no answer",
        "",
    ]


@pytest.mark.parametrize("columns", ["0", "1"])
def test_a_terminal_without_columns(summary, monkeypatch, columns) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", columns)
    stream = Terminal()
    show_summary(summary, [sample("It was Ada.", "Ada")], stream=stream)
    plain = re.sub(r"\x1b\[[\d;]*m", "", stream.getvalue())
    assert "It was Ada." in plain
    assert "answers in answers.parquet" in plain


def test_no_colour_when_not_wanted(summary, monkeypatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    show_summary(summary, [sample("It was Ada.", "Ada")], stream=stream)
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize(
    ("context", "answer", "shown"),
    [
        ("It was Ada.", "Ada", ("It was ", "Ada", ".")),
        ("Ada", "Ada", ("", "Ada", "")),
        ("a\r\nb\nc Ada\td", "Ada", ("a⏎b⏎c ", "Ada", " d")),
        ("long " * 40 + "Ada" + " tail" * 40, "Ada", ("…" + "long " * 12, "Ada", " tail" * 12 + "…")),
        ("x" * 99 + "Ada" + "y" * 99, "Ada", ("…" + "x" * 60, "Ada", "y" * 60 + "…")),
        ("e\u0301" * 99 + "Ada", "Ada", ("…" + "e\u0301" * 30, "Ada", "")),
        ("xe" + "\u0301" * 3 + "a" * 57 + "Ada", "Ada", ("…" + "a" * 57, "Ada", "")),
        ("עיר הבירה היא פריז", "פריז", ("עיר הבירה היא ", "פריז", "")),
    ],
)
def test_excerpt(context, answer, shown) -> None:
    start = context.index(answer)
    assert answer_in_context(context, start, start + len(answer)) == shown


def test_a_very_long_answer_is_cut_in_the_middle() -> None:
    _, answer, _ = answer_in_context("a" * 1000, 0, 1000)
    assert answer == "a" * 120 + " … " + "a" * 120


@given(st.text(st.characters(codec=None), max_size=300), st.data())
def test_excerpts_are_short_and_harmless(context, data) -> None:
    start = data.draw(st.integers(0, len(context)))
    end = data.draw(st.integers(start, min(len(context), start + 200)))
    before, answer, after = answer_in_context(context, start, end)
    assert all(harmless(part) == part for part in (before, answer, after))
    # An escape is at most 6 characters long.
    assert max(len(before), len(after)) <= 6 * AROUND + 1
    assert before.startswith("…") or start <= AROUND
    head, body = sample_texts(
        Sample(id="i", question=context, context=context, answer_start=start, answer_end=end, score=None)
    )
    assert "\n" not in head.plain + body.plain
