"""Log lines: what is written, and what never is."""

from __future__ import annotations

import json
import logging
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qatool import logs
from qatool.logs import harmless, log_event, setup_logging
from qatool.options import ScreenOptions

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


@pytest.fixture(autouse=True)
def _fresh_logger() -> object:
    yield
    for handler in tuple(logs.logger.handlers):
        logs.logger.removeHandler(handler)
        handler.close()
    logs.logger.propagate = True


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\r\tc", r"a\x0ab\x0d\x09c"),
        ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
        ("\x7f\x9b2J\x00", r"\x7f\x9b2J\x00"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("user\u202egpj.exe\u2066\u2069", r"user\u202egpj.exe\u2066\u2069"),
        ("\ud83d", r"\ud83d"),
        ("naïve 👩‍🚀 שלום e\u0301 日本 [bold]\\", "naïve 👩‍🚀 שלום e\u0301 日本 [bold]\\"),
    ],
)
def test_harmless(text, shown) -> None:
    assert harmless(text) == shown


@given(st.text(st.characters(codec=None)))
def test_harmless_text_is_one_line_that_can_be_printed(text) -> None:
    shown = harmless(text)
    assert harmless(shown) == shown
    assert len(shown.splitlines()) <= 1
    assert not any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in shown)
    shown.encode()


def test_text_lines(capsys) -> None:
    setup_logging(ScreenOptions())
    log_event("shard\x1b[2J done", shard=3, file="a b\nc", note='x="y"', level=logging.WARNING)
    log_event("detail", level=logging.DEBUG)
    err = capsys.readouterr().err
    assert re.fullmatch(STAMP + r' WARNING shard\\x1b\[2J done shard=3 file="a b\\nc" note="x=\\"y\\""\n', err)


def test_json_lines_give_back_the_very_data(capsys) -> None:
    setup_logging(ScreenOptions(log_format="json"))
    data = "\x1b[2J\n\u202e\x9b\u2028 naïve \ud800"
    log_event("shard done", shard=3, text=data, level=logging.INFO, time="mine")
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert harmless(line[:-1]) == line[:-1]
    record = json.loads(line)
    assert re.fullmatch(STAMP, record.pop("time"))
    assert record == {"level": "INFO", "event": "shard done", "shard": 3, "text": data}
    assert "naïve" in line


def test_json_lines_with_a_signed_address_in_quotes(capsys) -> None:
    setup_logging(ScreenOptions(log_format="json"))
    text = 'open("https://host/a?sig=1") failed'
    log_event(text, traceback=text, nested={"at": [text, 1, None]})
    record = json.loads(capsys.readouterr().err)
    shown = 'open("https://host/a?***") failed'
    assert (record["event"], record["traceback"], record["nested"]) == (shown, shown, {"at": [shown, 1, None]})


@given(st.text(st.characters(codec=None)))
def test_json_lines_are_lossless(text) -> None:
    record = logging.LogRecord("qatool", logging.INFO, "", 0, "event", None, None)
    record.fields = {"text": text}
    line = logs._JsonFormatter().format(record)
    assert harmless(line) == line
    assert json.loads(line)["text"] == text


@pytest.mark.parametrize(
    ("options", "shown"),
    [({}, "IWE"), ({"verbose": True}, "DIWE"), ({"quiet": True}, "E")],
)
def test_levels(capsys, options, shown) -> None:
    setup_logging(ScreenOptions(**options))
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        log_event("e", level=level)
    assert "".join(line.split()[1][0] for line in capsys.readouterr().err.splitlines()) == shown


def test_log_file_is_appended_to_even_when_quiet(capsys, tmp_path) -> None:
    path = tmp_path / "run.log"
    for number in (1, 2):
        setup_logging(ScreenOptions(quiet=True, log_file=str(path)))
        log_event("hello", number=number)
    assert [line.split("Z ")[1] for line in path.read_text().splitlines()] == [
        "INFO hello number=1",
        "INFO hello number=2",
    ]
    assert capsys.readouterr().err == ""


def test_no_log_file_no_crash_log() -> None:
    setup_logging(ScreenOptions())
    assert logs.log_crash(ValueError("x")) is None
