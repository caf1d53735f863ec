"""What only a process of its own can show: imports, time, completion, pipes, signals."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import textwrap

import pytest

HEAVY = ["torch", "transformers", "pyarrow", "numpy", "rich", "tokenizers", "lightning", "datasets"]
STUB = """\
import sys, types
module = types.ModuleType("qatool.commands.extract")
def run(options, *, observer):
    {body}
module.run = run
sys.modules["qatool.commands.extract"] = module
from qatool.cli import main
main()
"""


def run_stub(body: str, *words: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    code = STUB.format(body=textwrap.indent(body, "    ").strip())
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60)


@pytest.mark.parametrize("words", [["--help"], ["extract", "--help"], ["--version"], ["extract", "--bad"]])
def test_help_imports_nothing_heavy(words) -> None:
    code = f"""
import sys
from qatool import cli
code = cli.run({words!r})
print(code, [name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == ("2 []" if "--bad" in words else "0 []")


def test_help_is_quick() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "qatool", "extract", "--help"], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # About 0.12 s on the machine this was written on; the bound leaves room for slow and busy ones.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.6


def complete(line: str, *, kind: str = "plain") -> list[str]:
    """Return what a shell is told that the last word may become, or that it is to complete itself."""
    words = line.split(" ")
    environment = {**os.environ, "_QATOOL_COMPLETE": "bash_complete"}
    environment |= {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run(
        [sys.executable, "-m", "qatool"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    items = [item.partition(",") for item in done.stdout.splitlines()]
    return [text for told, _, text in items if told == kind]


def test_completion() -> None:
    assert complete("qatool ext") == ["extract"]
    assert complete("qatool extract --dec") == ["--decode"]
    assert complete("qatool extract --decode ") == ["native", "squad-script", "hf-pipeline"]
    assert complete("qatool extract in.jsonl --on-error s") == ["skip"]


def test_the_shell_completes_names_of_files() -> None:
    for line in ("extract ", "extract in.jsonl -o ", "extract --log-file l", "status ", "evaluate a --references "):
        (item,) = complete(f"qatool {line}", kind="file")
        assert item == line.rpartition(" ")[2]
    assert complete("qatool extract --column ", kind="file") == []


def test_completion_script() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "qatool"],
        env={**os.environ, "_QATOOL_COMPLETE": "zsh_source"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    assert "_QATOOL_COMPLETE=zsh_complete" in done.stdout


def test_a_reader_that_left_is_quiet_exit_9() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = run_stub("print('row', flush=True)", "extract", "in", "-o", "-", "--progress=none", stdout=writing)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (9, "")


def test_a_full_disk_behind_standard_output_is_exit_9() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        early = run_stub("pass", "--version", stdout=full.fileno())
        late = run_stub(
            "print('row')\nfrom types import SimpleNamespace as N\nreturn N(summary={}, samples=())",
            *["extract", "in", "-o", "-", "-q"],
            stdout=full.fileno(),
        )
    line = "Error: output: cannot be written (No space left on device); make room and start again\n"
    assert (early.returncode, early.stderr) == (9, line)
    assert (late.returncode, late.stderr) == (9, line)


def test_help_into_a_closed_pipe_is_quiet() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = run_stub("pass", "extract", "--help", stdout=writing)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (9, "")


def test_ctrl_c() -> None:
    body = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(30)"
    done = run_stub(body, "extract", "in", "-o", "out")
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "Error: interrupted; start the same command again\n"


@pytest.mark.parametrize("number", ["SIGTERM", "SIGHUP"])
def test_terminated_where_nothing_listens(number) -> None:
    body = f"import os, signal, time\nos.kill(os.getpid(), signal.{number})\ntime.sleep(30)"
    done = run_stub(body, "extract", "in", "-o", "out")
    assert (done.returncode, done.stdout) == (143, "")
    assert done.stderr == "Error: terminated; start the same command again\n"


@pytest.mark.parametrize(("number", "code", "word"), [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "terminated")])
@pytest.mark.parametrize("then", ["pass", "raise AttributeError('partially initialized module')"])
def test_a_signal_that_foreign_code_swallows(number, code, word, then) -> None:
    """Extension modules lose what is raised while they import something, or make another error of it."""
    body = f"""import os, signal, time
try:
    os.kill(os.getpid(), signal.{number})
    time.sleep(30)
except BaseException:
    {then}
from types import SimpleNamespace
return SimpleNamespace(summary={{}}, samples=[])"""
    done = run_stub(body, "extract", "in", "-o", "out", "-q")
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr == f"Error: {word}; start the same command again\n"


def test_names_that_are_not_text_do_no_harm() -> None:
    command = [sys.executable, "-m", "qatool", "extract", "in", "-o", "out", "--column", b"\xff\x1b[2J"]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith(rb"Error: --column '\udcff\x1b[2J': not of the form")


@pytest.mark.parametrize("broken", ["a.jsonl --output", "--nope a --neither b"])
def test_help_wins_over_problems(broken) -> None:
    words = ["extract", "--help", *broken.split()]
    done = subprocess.run([sys.executable, "-m", "qatool", *words], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: qatool extract INPUT... -o PATH [OPTIONS]\n")


def in_shell(command: str, **environment: str) -> tuple[int, str, str]:
    """Run a command line of ``qatool`` in a shell, which can close streams."""
    line = command.replace("qatool", f"{sys.executable} -m qatool", 1)
    done = subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, timeout=60, env={**os.environ, **environment}
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user, whose processes can be limited")
@pytest.mark.parametrize("most", [2, 6, 12])
def test_too_few_threads_are_told(tmp_path, most) -> None:
    """Libraries that cannot start theirs interrupt the process, end it, or fail in words of their own."""
    code = (
        "import os, resource, sys\n"
        "import qatool.cli, qatool.cli.surroundings\n"
        "qatool.cli.surroundings.check_surroundings()\n"  # what it imports may be out of the other user's reach
        "os.setgroups([]); os.setgid(65534); os.setuid(54321)\n"
        f"resource.setrlimit(resource.RLIMIT_NPROC, ({most}, {most}))\n"
        "sys.exit(qatool.cli.run(['extract', 'in.jsonl', '-o', '/tmp/none/out.jsonl']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd="/tmp")
    assert done.returncode == 4, done.stderr
    assert re.fullmatch(r"Error: \d+ threads cannot be started; raise the limit of processes .*\n", done.stderr)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ('RuntimeError("can\'t start new thread")', 4),
        ("ImportError('libx.so: failed to map segment from shared object')", 4),
        ("MemoryError()", 4),
        ("RuntimeError('something else')", 1),
    ],
)
def test_memory_is_refused_in_many_words(error, code) -> None:
    done = run_stub(f"raise {error}", "extract", "in", "-o", "out")
    assert done.returncode == code
    assert done.stderr.startswith("Error: out of memory" if code == 4 else "Error: internal error")


def test_a_working_folder_that_is_gone_is_told_before_anything_is_imported(tmp_path) -> None:
    code = (
        "import os, sys; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')\n"
        "from qatool.cli import run; sys.exit(run(['extract', '/tmp/none.jsonl', '-o', '/tmp/none/out.jsonl']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 3
    assert done.stderr == "Error: the working folder is gone; change into one that is there\n"


def test_the_log_tells_which_options_come_from_elsewhere(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "qatool.toml").write_text("[extract]\nlimit = 2\n")
    (tmp_path / "in.jsonl").write_text('{"question": "Who?", "context": "Anna."}\n')
    line = "qatool extract in.jsonl -o out.jsonl --backend constant --log-file log"
    assert in_shell(line, QATOOL_EXTRACT_TOP_K="3")[0] == 0
    told = next(line for line in (tmp_path / "log").read_text().splitlines() if "set elsewhere" in line)
    assert "QATOOL_EXTRACT_TOP_K" in told
    assert "limit" in told


@pytest.fixture
def one_row(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.jsonl").write_text('{"question": "\u6771\u4eac?", "context": "Anna came to \u6771\u4eac."}\n')


EXTRACT = "qatool extract in.jsonl -o out.jsonl --backend constant"


@pytest.mark.usefixtures("one_row")
@pytest.mark.parametrize(
    "end", ["-q >&-", "--progress plain 2>&-", "<&- >&- 2>&-", "--progress plain 2>/dev/full", "--summary s.json >&-"]
)
def test_streams_that_are_closed_or_full_do_not_end_the_work(tmp_path, end) -> None:
    assert in_shell(f"{EXTRACT} {end}")[0] == 0
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 1


@pytest.mark.usefixtures("one_row")
@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("qatool --help >&-", "is closed; open it, or name a file"),
        (f"{EXTRACT} -q --summary - >&-", "cannot be written: it is closed; open it, or name a file"),
        (
            f"{EXTRACT} -q >&-".replace("out.jsonl", "-"),
            "cannot be written: it is closed; open it, or name a file",
        ),
    ],
)
def test_what_a_closed_stream_should_have_got_is_told(command, told) -> None:
    assert in_shell(command) == (9, "", f"Error: standard output: {told}\n")


def test_errors_keep_their_code_where_nobody_can_read_them() -> None:
    assert in_shell("qatool status no.parquet 2>/dev/full")[0] == 3
    assert in_shell("qatool extract 2>&-")[0] == 2


@pytest.mark.usefixtures("one_row")
def test_a_log_on_a_full_disk_is_told_once(tmp_path) -> None:
    code, _, told = in_shell(f"{EXTRACT} -q --log-file /dev/full")
    reason = "log lines are lost ([Errno 28] No space left on device)"
    assert (code, told) == (0, f"Warning: --log-file /dev/full: {reason}\n")


@pytest.mark.usefixtures("one_row")
def test_characters_that_a_stream_lacks_are_spelled_out() -> None:
    assert in_shell(f"{EXTRACT} -q")[0] == 0
    code, out, _ = in_shell("qatool inspect out.jsonl", PYTHONIOENCODING="latin-1")
    assert code == 0
    assert "question: \\u6771\\u4eac?" in out
