"""Every failure is one line a problem on standard error, and an exit code."""

from __future__ import annotations

import logging
import re
import sys
import tempfile
from pathlib import Path

import pytest

from qatool import cli, errors
from qatool.options import ExportOptions
from qatool.options.checks import seconds_of

FINE = ["extract", "in.jsonl", "-o", "out.parquet", "--progress", "none"]
A_LIST = 'must be a list of texts, like ["a", "b"]'
MISSING_INPUT = (
    "Error: INPUT: missing; give it on the command line, in QATOOL_EXTRACT_INPUT or as input under [extract] "
    "in qatool.toml"
)
MISSING_OUTPUT = (
    "Error: -o/--output: missing; give it on the command line, in QATOOL_EXTRACT_OUTPUT or as output under "
    "[extract] in qatool.toml"
)

TABLES = ", ".join(f"[{name}]" for name in sorted(cli.commands.commands))


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        ([], [MISSING_INPUT, MISSING_OUTPUT]),
        (["in"], [MISSING_OUTPUT]),
        (["in", "-o"], ["Error: -o: needs a value; see qatool extract --help"]),
        (["in", "-o", ""], ["Error: --output '': must not be empty"]),
        (["in", "-o", "o", "--topk", "3"], ["Error: --topk: no such option; did you mean --top-k?"]),
        (["in", "-o", "o", "--topk=3"], ["Error: --topk: no such option; did you mean --top-k?"]),
        (["in", "-o", "o", "--zzzz"], ["Error: --zzzz: no such option; see qatool extract --help"]),
        (["in", "-o", "o", "--bogus", "3"], ["Error: --bogus: no such option; see qatool extract --help"]),
        (["in", "-qz", "-o", "o"], ["Error: -z: no such option; see qatool extract --help"]),
        (["in", "-o", "o", "--quiet=1"], ["Error: --quiet: takes no value; drop what follows the ="]),
        (["in", "-o", "o", "--top-k", "five"], ["Error: --top-k 'five': must be a whole number"]),
        (["in", "-o", "o", "--top-k", "1.5"], ["Error: --top-k '1.5': must be a whole number"]),
        (["in", "-oo", "--no-answer-threshold=x"], ["Error: --no-answer-threshold 'x': must be a number"]),
        (["in", "-oo", "--batch-tokens", "x"], ["Error: --batch-tokens 'x': must be a whole number or auto"]),
        (["in", "-o", "o", "--best-per", "x"], ["Error: --best-per 'x': must be question"]),
        (
            ["in", "-o", "o", "--decode", "fast"],
            ["Error: --decode 'fast': must be one of native, squad-script, hf-pipeline"],
        ),
        (
            ["-o", "o", "--topk=3", "--precision", "fp8", "--stride", "-1", "-qv", "--column", "x\x1b[2J"],
            [
                "Error: --topk: no such option; did you mean --top-k?",
                "Error: --precision 'fp8': must be one of auto, fp32, bf16, fp16, int8",
                MISSING_INPUT,
                "Error: --stride -1: must be at least 0",
                r"Error: --column 'x\x1b[2J': not of the form NEW=OLD; for example --column question=q",
                "Error: --quiet and --verbose: contradict each other; drop one",
            ],
        ),
    ],
)  # fmt: skip
def test_usage(qatool, work, words, lines) -> None:
    assert qatool("extract", *words) == (2, "", "".join(f"{line}\n" for line in lines))
    assert work.options is None


@pytest.mark.parametrize("words", [("doctor",), ("export", "m", "-o", "o"), ("calibrate", "m", "--on", "d.jsonl")])
def test_quiet_and_verbose_contradict_each_other(qatool, words) -> None:
    assert qatool(*words, "-qv") == (2, "", "Error: --quiet and --verbose: contradict each other; drop one\n")


def test_a_number_that_is_none_is_refused(qatool) -> None:
    told = qatool("export", "m", "-o", "o", "--max-f1-drop", "nan")
    assert told == (2, "", "Error: --max-f1-drop 'nan': must be a finite number\n")
    with pytest.raises(errors.UsageError, match="--max-f1-drop nan: must be at least 0"):
        ExportOptions(model="m", output="o", max_f1_drop=float("nan"))


def test_a_number_beyond_all_counts_is_refused(qatool) -> None:
    told = qatool("extract", "in.jsonl", "-o", "o.parquet", "--limit", str(10**20))
    assert told == (2, "", f"Error: --limit '{10**20}': must be at most {sys.maxsize}\n")


def test_no_noise_about_options_already_in_trouble(qatool) -> None:
    result = qatool(*FINE, "--on-error", "skp", "--max-errors", "5")
    assert result.errors == ["Error: --on-error 'skp': must be one of fail, skip"]


def test_a_problem_says_where_an_untyped_value_comes_from(qatool, monkeypatch) -> None:
    monkeypatch.setenv("QATOOL_EXTRACT_TOP_K", "0")
    Path("qatool.toml").write_text("[extract]\nmax-errors = 3\n")
    assert qatool(*FINE).errors == [
        "Error: --top-k 0: must be at least 1 (--top-k comes from QATOOL_EXTRACT_TOP_K)",
        (
            "Error: --max-errors: has no meaning with --on-error fail; add --on-error skip "
            "(--max-errors comes from qatool.toml [extract] max-errors)"
        ),
    ]
    monkeypatch.setenv("QATOOL_EXTRACT_TOP_K", "two")
    monkeypatch.setenv("QATOOL_EXTRACT_QUIET", "maybe")
    assert qatool(*FINE, "--no-quiet", "--on-error=skip").errors == [
        "Error: QATOOL_EXTRACT_TOP_K 'two': must be a whole number"
    ]
    assert qatool(*FINE, "--top-k=1", "--on-error=skip").errors == [
        "Error: QATOOL_EXTRACT_QUIET 'maybe': must be true or false"
    ]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("top-k = 1", ["qatool.toml: top-k stands outside a table; put it under [extract]"]),
        ("[extrakt]", ["qatool.toml: [extrakt] is not a command; did you mean [extract]?"]),
        ("[zzz]", [f"qatool.toml: [zzz] is not a command; there is {TABLES}"]),
        ("[extract]\ntopk = 1", ["qatool.toml [extract] topk: no such option; did you mean top-k?"]),
        ("[extract]\nzzzz = 1", ["qatool.toml [extract] zzzz: no such option"]),
        ('[extract]\ntop-k = "1"', ["qatool.toml [extract] top-k = '1': must be a whole number"]),
        ("[extract]\ntop_k = true", ["qatool.toml [extract] top_k = true: must be a whole number"]),
        (
            "[extract]\ncpus-per-worker = inf",
            ["qatool.toml [extract] cpus-per-worker = inf: must be a finite number"],
        ),
        ("[extract]\nquiet = 1", ["qatool.toml [extract] quiet = 1: must be true or false"]),
        ("[extract]\nmodel = true", ['qatool.toml [extract] model = true: must be a text, like "a"']),
        ("[extract]\nkeep = 1", [f"qatool.toml [extract] keep = 1: {A_LIST}"]),
        ("[extract]\nkeep = [1]", [f"qatool.toml [extract] keep = [1]: {A_LIST}"]),
        ("[extract]\nbest-per = 'x'", ["qatool.toml [extract] best-per = 'x': must be question"]),
        ("[extract]\nconfig = 'x'", ["qatool.toml [extract] config: no such option"]),
        (
            "[extract]\ntop-k = 1\ntop_k = 2",
            ["qatool.toml [extract] top_k: given twice, with dashes and underscores; drop one"],
        ),
        (
            "[extract]\ntop-k = 0\nstride = 'x'\n[nope]",
            [
                f"qatool.toml: [nope] is not a command; there is {TABLES}",
                "qatool.toml [extract] stride = 'x': must be a whole number",
                "--top-k 0: must be at least 1 (--top-k comes from qatool.toml [extract] top-k)",
            ],
        ),
    ],
)  # fmt: skip
def test_configuration_file(qatool, text, lines) -> None:
    Path("qatool.toml").write_text(text)
    result = qatool(*FINE)
    assert result.errors == [f"Error: {line}" for line in lines]
    assert result.code == 2


def test_a_file_that_cannot_be_read_is_the_only_problem(qatool) -> None:
    result = qatool("extract", "--config", "none.toml")
    assert result.errors == [
        "Error: --config none.toml: cannot be read (No such file or directory); name a readable TOML file"
    ]
    Path("qatool.toml").write_text("[extract]\ntop-k = five\n")
    (line,) = qatool("extract").errors
    assert re.fullmatch(
        r"Error: qatool.toml: not valid TOML \(.*line 2.*\); mend it or name another file with --config", line
    )
    Path("qatool.toml").write_bytes(b"\xff")
    (line,) = qatool("extract").errors
    assert line.startswith("Error: qatool.toml: not valid TOML ('utf-8' codec")
    Path("qatool.toml").write_text(f"a = {2_000 * '['}")
    assert qatool(*FINE).errors[0].startswith("Error: qatool.toml: not valid TOML (maximum recursion depth exceeded")


def test_unknown_command_and_group_option(qatool) -> None:
    assert qatool("extrct") == (2, "", "Error: extrct: no such command; did you mean extract?\n")
    assert qatool("zzz") == (2, "", "Error: zzz: no such command; see qatool --help\n")
    assert qatool("--versoin") == (2, "", "Error: --versoin: no such option; did you mean --version?\n")


def test_no_words_show_help(qatool) -> None:
    result = qatool()
    assert result.code == 2
    assert result.err.startswith("Usage: qatool [OPTIONS] COMMAND")


@pytest.mark.parametrize("kind", errors.QatoolError.__subclasses__())
def test_every_failure_has_its_exit_code(qatool, work, kind) -> None:
    work.failure = kind("corpus.jsonl:3: bad\nrow \x1b[31m; mend it")
    if kind is errors.UsageError:
        work.failure = kind("one\x07", "two")
    result = qatool(*FINE)
    assert result.code == kind.exit_code
    expected = r"Error: corpus.jsonl:3: bad\x0arow \x1b[31m; mend it" + "\n"
    assert result.err == ("Error: one\\x07\nError: two\n" if kind is errors.UsageError else expected)


def test_interrupt(qatool, work) -> None:
    work.failure = KeyboardInterrupt()
    assert qatool(*FINE) == (130, "", "Error: interrupted; start the same command again\n")


def test_a_bug_leaves_one_line_and_a_traceback_in_a_new_file(qatool, work, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    work.failure = ZeroDivisionError("by\nzero")
    for count in (1, 2):
        result = qatool(*FINE)
        assert result.code == 1
        (line,) = result.errors
        match = re.fullmatch(
            r"Error: internal error: ZeroDivisionError: by\\x0azero \(a bug; traceback in (.*)\)", line
        )
        assert match is not None
        assert Path(match[1]).read_text().startswith("Traceback (most recent call last):")
        assert Path(match[1]).stat().st_mode & 0o777 == 0o600
        assert len(list(tmp_path.glob("qatool-crash-*.log"))) == count


def test_a_bugs_traceback_goes_to_the_log_file(qatool, work, tmp_path) -> None:
    work.failure = ZeroDivisionError("zero")
    result = qatool(*FINE, "--log-file", "run.log")
    log = tmp_path / "run.log"
    assert result.err == f"Error: internal error: ZeroDivisionError: zero (a bug; traceback in {log})\n"
    assert "CRITICAL internal error\n    Traceback (most recent call last):\n" in log.read_text()


@pytest.mark.parametrize(("text", "told"), [("", ""), ("realloc of size 9 failed", " (realloc of size 9 failed)")])
def test_too_little_memory_is_no_bug(qatool, work, text, told) -> None:
    work.failure = MemoryError(text)
    remedy = "lower --shard-rows, --batch-tokens or --workers, whichever the command has, or give it more"
    assert qatool(*FINE) == (4, "", f"Error: out of memory{told}; {remedy}\n")


def test_a_working_folder_that_is_gone_is_told(qatool, tmp_path, monkeypatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    told = "Error: the working folder is gone; change into one that is there\n"
    assert qatool("extract", "in.jsonl", "-o", "out.jsonl") == (3, "", told)


@pytest.mark.parametrize(
    ("words", "label"),
    [
        (["export", "m", "-o", "m/"], "MODEL"),
        (["finetune", "a.jsonl", "--model", "m", "-o", "m/"], "--model"),
        (["finetune", "a.jsonl", "--teacher", "m", "-o", "m/"], "--teacher m"),
        (["finetune", "a.jsonl", "--average", "m=0.5", "-o", "m/"], "--average m"),
    ],
)
def test_no_model_is_written_over_by_what_is_made_of_it(qatool, words, label) -> None:
    told = f"Error: -o m/: is {label} as well, and would be written over; name another file\n"
    assert qatool(*words) == (2, "", told)


def test_a_time_beyond_all_lives_is_taken() -> None:
    assert seconds_of(f"{400 * '9'}s") == seconds_of(f"{400 * '9'}h") == 1e9


def test_a_broken_pipe_inside_the_work_is_a_bug(qatool, work, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    work.failure = BrokenPipeError("a worker is gone")
    result = qatool(*FINE)
    assert result.code == 1
    assert "BrokenPipeError: a worker is gone" in result.err


def test_log_file_that_cannot_be_written(qatool, work) -> None:
    assert qatool(*FINE, "--log-file", "no/run.log") == (
        9,
        "",
        "Error: --log-file no/run.log: cannot be written (No such file or directory); name another file\n",
    )


def test_rejected_rows_are_exit_5_after_the_summary(qatool, work) -> None:
    work.summary |= {"rejected": 3, "reject_reasons": {"invalid JSON": 3}, "rejects": "out.rejects.jsonl"}
    result = qatool(*FINE)
    assert result.code == 5
    assert result.errors[0].startswith("200 examples: 170 answered, 30 no answer, 3 rejected; ")
    assert result.errors[-1] == "Error: 3 rows were rejected; see out.rejects.jsonl for the reasons"


def test_quiet_prints_nothing(qatool, work) -> None:
    assert qatool("extract", "in.jsonl", "-o", "out.parquet", "-q") == (0, "", "")


def test_done(qatool, work) -> None:
    result = qatool("extract", "in.jsonl", "-o", "out.parquet")
    assert (result.code, result.out) == (0, "")
    assert re.fullmatch(r"ended after 0\.\d s: 200 of 200 examples \(100\.0 %\), .* windows/s", result.errors[0])
    assert result.errors[1:] == [
        "200 examples: 170 answered, 30 no answer, 0 rejected; 41.2 examples/s, 45.0 windows/s in 4.9 s",
        "model tiny on cpu (torch, fp32)",
        "answers in answers.parquet",
    ]


@pytest.fixture(autouse=True)
def _no_handlers_left() -> object:
    yield
    logger = logging.getLogger("qatool")
    for handler in tuple(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.propagate = True


def test_a_path_that_no_system_takes(qatool) -> None:
    Path("qatool.toml").write_text('[extract]\noutput = "a\\u0000.parquet"\n')
    assert qatool("extract", "in.jsonl").errors == [
        "Error: qatool.toml [extract] output = 'a\\x00.parquet': holds a NUL character"
    ]
