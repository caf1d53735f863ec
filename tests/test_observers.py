"""Progress displays: what is written, and what never is."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
import threading

import pytest
from rich.console import Console

from qatool.logs import setup_logging
from qatool.observers import BarObserver, PlainObserver, SilentObserver, make_observer
from qatool.options import ScreenOptions
from qatool.wording import duration

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_plain_lines_every_30_seconds_and_one_at_the_end() -> None:
    stream, clock = io.StringIO(), Clock()
    observer = PlainObserver(stream, clock=clock)
    observer.started(1000, "extracting")
    for _ in range(100):
        clock.now += 1
        observer.advanced(5, 6)
    observer.message("merging\r\x1b[2K")
    clock.now += 30
    observer.message("merging\r\x1b[2K")
    observer.finished()
    observer.finished()
    observer.advanced(1, 1)
    assert stream.getvalue().splitlines() == [
        "extracting, 30 s: 150 of 1,000 examples (15.0 %), 5.0 examples/s, 6.0 windows/s, 2 min 50 s left",
        "extracting, 1 min 00 s: 300 of 1,000 examples (30.0 %), 5.0 examples/s, 6.0 windows/s, 2 min 20 s left",
        "extracting, 1 min 30 s: 450 of 1,000 examples (45.0 %), 5.0 examples/s, 6.0 windows/s, 1 min 50 s left",
        (
            r"merging\x0d\x1b[2K, 2 min 10 s: 500 of 1,000 examples (50.0 %), 3.8 examples/s, 4.6 windows/s, "
            "2 min 10 s left"
        ),
        "ended after 2 min 10 s: 500 of 1,000 examples (50.0 %), 3.8 examples/s, 4.6 windows/s",
    ]  # fmt: skip


def test_what_is_not_read_in_windows_has_none() -> None:
    stream, clock = io.StringIO(), Clock()
    plain, bar = PlainObserver(stream, clock=clock), BarObserver(Console(file=stream, width=200), clock=clock)
    for observer in (plain, bar):
        observer.started(400, "ranking the documents", noun="document")
        clock.now += 30
        observer.advanced(100, 0)
        observer.finished()
    told, drawn = stream.getvalue().splitlines()[0], stream.getvalue().splitlines()[-1]
    assert told == "ranking the documents, 30 s: 100 of 400 documents (25.0 %), 3.3 documents/s, 1 min 30 s left"
    assert " 100/400 3.3 docs/s " in drawn
    plain.started(1, "answering")
    plain.finished()
    assert stream.getvalue().splitlines()[-1].startswith("ended after 0.0 s: 0 of 1 example (0.0 %), 0.0 examples/s")


def test_each_of_several_inputs_counts_from_nothing() -> None:
    stream = io.StringIO()
    observer = PlainObserver(stream, clock=Clock())
    for name in ("first", "second"):
        observer.started(1_000, name)
        observer.advanced(1_000, 1_000)
    observer.finished()
    assert "1,000 of 1,000 examples (100.0 %)" in stream.getvalue().splitlines()[-1]


def test_plain_lines_without_a_total() -> None:
    stream, clock = io.StringIO(), Clock()
    observer = PlainObserver(stream, clock=clock)
    observer.finished()
    assert stream.getvalue() == ""
    observer.started(None, "reading")
    clock.now += 31
    observer.advanced(31, 62)
    assert stream.getvalue() == "reading, 31 s: 31 examples, 1.0 examples/s, 2.0 windows/s\n"


def test_plain_counts_from_several_threads() -> None:
    stream = io.StringIO()
    observer = PlainObserver(stream, clock=Clock())
    observer.started(None, "extracting")
    threads = [threading.Thread(target=lambda: [observer.advanced(1, 2) for _ in range(1000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    observer.finished()
    assert stream.getvalue().startswith("ended after 0.0 s: 4,000 examples, ")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (4.94, "4.9 s"),
        (29.4, "29 s"),
        (59.94, "60 s"),
        (59.96, "1 min 00 s"),
        (3599.7, "1 h 00 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_duration(seconds, text) -> None:
    assert duration(seconds) == text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("options", "term", "stream", "kind"),
    [
        ({}, "xterm", Terminal, "BarObserver"),
        ({"progress": "bar"}, "xterm", Terminal, "BarObserver"),
        ({"progress": "plain"}, "xterm", Terminal, "PlainObserver"),
        ({"progress": "none"}, "xterm", Terminal, "SilentObserver"),
        ({"quiet": True}, "xterm", Terminal, "SilentObserver"),
        ({}, "dumb", Terminal, "PlainObserver"),
        ({"progress": "bar"}, "dumb", Terminal, "PlainObserver"),
        ({}, "xterm", io.StringIO, "PlainObserver"),
        ({"progress": "bar"}, "xterm", io.StringIO, "PlainObserver"),
    ],
)
def test_the_display_suits_the_stream(monkeypatch, options, term, stream, kind) -> None:
    monkeypatch.setenv("TERM", term)
    assert type(make_observer(ScreenOptions(**options), stream())).__name__ == kind


def test_silence() -> None:
    observer = SilentObserver()
    observer.started(1, "x")
    observer.advanced(1, 1)
    observer.message("x")
    observer.finished()


WORK = """
import logging, sys, time
from qatool.logs import log_event, setup_logging
from qatool.observers import make_observer
from qatool.options import ScreenOptions
options = ScreenOptions()
setup_logging(options)
observer = make_observer(options, sys.stderr)
observer.started({total}, "extracting [red]x\\x1b[2J")
for step in range(10):
    time.sleep(0.05)
    observer.advanced(20, 22)
    if step % 3 == 1:
        log_event("shard done", shard=step)
observer.message("merging [/red]")
observer.finished()
log_event("end")
"""


def rendered(data: str) -> list[str]:
    """Return the lines a terminal would show; knows carriage return, erase line, cursor up, colours."""
    lines, row, column = [""], 0, 0
    for match in re.finditer(r"\x1b\[\??([\d;]*)([A-Za-z])|(.)", data, re.DOTALL):
        number, command, char = match.groups()
        if command == "K":
            lines[row] = "" if number == "2" else lines[row][:column]
        elif command == "A":
            row -= int(number or 1)
        elif command:
            assert command in "mhl", match.group()
        elif char == "\r":
            column = 0
        elif char == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        else:
            lines[row] = lines[row].ljust(column)[:column] + char + lines[row][column + 1 :]
            column += 1
    return lines


@pytest.mark.parametrize("total", [200, None])
def test_a_bar_on_a_terminal_is_not_torn_by_log_lines(total) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    command = [sys.executable, "-c", WORK.format(total=total)]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    data = b""
    try:
        while block := os.read(ours, 65536):
            data += block
    except OSError:
        pass  # How Linux says that nobody writes any more.
    os.close(ours)
    assert process.wait() == 0
    text = data.decode()
    assert "\x1b[2J" not in text
    assert r"extracting [red]x\x1b[2J" in text
    lines = [line.rstrip() for line in rendered(text)]
    for line, shard in zip(lines, (1, 4, 7), strict=False):
        assert re.fullmatch(STAMP + f" INFO shard done shard={shard}", line)
    measure = "━+ 200/200" if total else r"\S 200/\?"
    left = r" \d:\d\d:\d\d" if total else ""
    bar = rf"merging \[/red\] {measure} [\d.,]+ ex/s [\d.,]+ win/s \d:\d\d:\d\d{left}"
    assert re.fullmatch(bar, lines[3])
    assert re.fullmatch(STAMP + " INFO end", lines[4])
    assert lines[5:] == [""]


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (24, "  345678/1234567 -:--:--"),
        (40, "━━━━╺━━━━━━━━━━━  345678/1234567 -:--:--"),
        (60, "answering ━━━━━╺━━━━━━━━━━━━  345678/1234567 0:00:00 -:--:--"),
        (80, "answering ━━━━╺━━━━━━━━━━━  345678/1234567 86.4 ex/s 259.3 win/s 0:00:00 -:--:--"),
    ],
)
def test_a_narrow_bar_keeps_the_counts_whole(width, line) -> None:
    clock, screen = Clock(), io.StringIO()
    observer = BarObserver(Console(file=screen, force_terminal=True, width=width), clock=clock)
    observer.started(1_234_567, "answering")
    clock.now += 4_000
    observer.advanced(345_678, 3 * 345_678)
    observer.finished()
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue()).replace("\r", "\n").splitlines()
    assert [text for text in drawn if text][-1] == line


def test_plain_lines_go_to_a_log_in_json(capsys) -> None:
    options = ScreenOptions(log_format="json")
    setup_logging(options)
    try:
        observer = make_observer(options, io.StringIO())
        observer.started(2, "extracting\x1b[2J")
        observer.advanced(2, 3)
        observer.finished()
    finally:
        setup_logging(ScreenOptions())
    (line,) = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert told["event"] == "progress"
    assert told["text"].startswith("ended after 0.0 s: 2 of 2 examples (100.0 %)")


def test_nothing_but_plain_lines_into_a_pipe() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WORK.format(total=200)],
        capture_output=True,
        env={**os.environ, "FORCE_COLOR": "1"},
    )
    assert done.returncode == 0
    assert done.stdout == b""
    assert not set(b"\r\x1b") & set(done.stderr)
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 5
    assert re.fullmatch(r"ended after 0\.\d s: 200 of 200 examples \(100\.0 %\), .*", lines[3])
