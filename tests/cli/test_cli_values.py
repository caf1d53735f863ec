"""Where an option's value comes from: flag over environment over file over default."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qatool import cli
from qatool.cli.options import settings_of
from qatool.errors import UsageError
from qatool.options import ExtractOptions, FinetuneOptions

# option, default, then text and value for the file, the variable and the flags; one of each kind.
KINDS = [
    ("top-k", 1, "2", 2, "3", 3, ["--top-k", "4"], 4),
    ("no-answer-threshold", None, "0.25", 0.25, "0.5", 0.5, ["--no-answer-threshold=0.75"], 0.75),
    ("no-answer-threshold", None, "1", 1.0, "0", 0.0, ["--no-answer-threshold", "1e-3"], 0.001),
    ("device", "auto", '"cpu"', "cpu", "cuda", "cuda", ["--device", "cuda:1"], "cuda:1"),
    ("model", None, '"a"', "a", "b", "b", ["--model", "c"], "c"),
    ("on-error", "fail", '"skip"', "skip", "fail", "fail", ["--on-error", "skip"], "skip"),
    ("best-per", None, '"question"', "question", "question", "question", ["--best-per=question"], "question"),
    ("verbose", False, "true", True, "no", False, ["-v"], True),
    ("verbose", False, "true", True, "1", True, ["--no-verbose"], False),
    ("batch-tokens", None, "512", 512, "1024", 1024, ["--batch-tokens", "auto"], None),
    ("shard-rows", None, '"auto"', None, "7", 7, ["--shard-rows=9"], 9),
    ("keep", (), '["a", "b c"]', ("a", "b c"), "d e\nf", ("d e", "f"), ["--keep", "g"], ("g",)),
    ("column", (), '["q=q"]', ("q=q",), "a=i", ("a=i",), ["--column=a=k", "--column", "b=l"], ("a=k", "b=l")),
]  # fmt: skip
ALWAYS = ["in.jsonl", "-o", "out.parquet", "--question", "Who?"]


@pytest.mark.parametrize("spelling", ["dashes", "underscores"])
@pytest.mark.parametrize(("name", "default", "in_file", "a", "in_variable", "b", "typed", "c"), KINDS)
def test_precedence(qatool, work, monkeypatch, name, default, in_file, a, in_variable, b, typed, c, spelling) -> None:
    field = name.replace("-", "_")
    key = name if spelling == "dashes" else field

    def value(*words: str) -> object:
        assert qatool("extract", *ALWAYS, *words).code == 0
        return getattr(work.options, field)

    assert value() == default
    Path("qatool.toml").write_text(f"[extract]\n{key} = {in_file}\n")
    assert value() == a
    assert type(value()) is type(a)
    monkeypatch.setenv(f"QATOOL_EXTRACT_{field.upper()}", in_variable)
    assert value() == b
    assert value(*typed) == c
    assert type(value(*typed)) is type(c)


def test_input_and_output_from_the_file_and_the_environment(qatool, work, monkeypatch) -> None:
    Path("qatool.toml").write_text('[extract]\ninput = ["a.jsonl", "b.jsonl"]\noutput = "o.parquet"\n')
    assert qatool("extract").code == 0
    assert (work.options.inputs, work.options.output) == (("a.jsonl", "b.jsonl"), "o.parquet")
    monkeypatch.setenv("QATOOL_EXTRACT_INPUT", "c d.jsonl\ne.jsonl\n")
    monkeypatch.setenv("QATOOL_EXTRACT_OUTPUT", "p.parquet")
    assert qatool("extract").code == 0
    assert (work.options.inputs, work.options.output) == (("c d.jsonl", "e.jsonl"), "p.parquet")
    assert qatool("extract", "f.jsonl", "-o", "q.parquet").code == 0
    assert (work.options.inputs, work.options.output) == (("f.jsonl",), "q.parquet")


def test_the_shared_model_variable_yields_to_the_commands_own(qatool, work, monkeypatch) -> None:
    Path("qatool.toml").write_text('[extract]\nmodel = "file"\n')
    monkeypatch.setenv("QATOOL_MODEL", "shared")
    qatool("extract", *ALWAYS)
    assert work.options.model == "shared"
    monkeypatch.setenv("QATOOL_EXTRACT_MODEL", "own")
    qatool("extract", *ALWAYS)
    assert work.options.model == "own"


def test_config_names_another_file(qatool, work, monkeypatch) -> None:
    Path("qatool.toml").write_text("[extract]\ntop-k = 2\n")
    Path("other.toml").write_text("[extract]\ntop-k = 3\n")
    qatool("extract", *ALWAYS, "--config", "other.toml")
    assert work.options.top_k == 3
    monkeypatch.setenv("QATOOL_EXTRACT_CONFIG", "other.toml")
    qatool("extract", *ALWAYS)
    assert work.options.top_k == 3
    qatool("extract", *ALWAYS, "--config", "/dev/null")
    assert work.options.top_k == 1


def test_an_empty_variable_is_not_set(qatool, work, monkeypatch) -> None:
    monkeypatch.setenv("QATOOL_EXTRACT_TOP_K", "")
    monkeypatch.setenv("QATOOL_EXTRACT_KEEP", "\n")
    assert qatool("extract", *ALWAYS).code == 0
    assert (work.options.top_k, work.options.keep) == (1, ())


def test_a_variable_that_nearly_names_an_option_is_told_of(qatool, work, monkeypatch) -> None:
    for end in ("LIMT", "TOP_K", "DIR", "CONFIG"):
        monkeypatch.setenv(f"QATOOL_EXTRACT_{end}", "1" if end != "CONFIG" else "/dev/null")
    monkeypatch.setenv("QATOOL_PREP_LIMT", "1")
    told = [line for line in qatool("extract", *ALWAYS).errors if "sets nothing" in line]
    assert len(told) == 1
    assert "WARNING" in told[0]
    assert "variable=QATOOL_EXTRACT_LIMT did_you_mean=QATOOL_EXTRACT_LIMIT" in told[0]


def test_so_it_is_by_a_command_without_a_log(qatool, monkeypatch) -> None:
    monkeypatch.setenv("QATOOL_STATUS_JSN", "yes")
    assert qatool("status", "none.parquet").errors[0] == (
        "Warning: QATOOL_STATUS_JSN: sets nothing; did you mean QATOOL_STATUS_JSON?"
    )


def test_words_that_look_like_options_are_inputs_behind_two_dashes(qatool, work) -> None:
    assert qatool("extract", "-o", "out", "--", "-q", "--top-k").code == 0
    assert work.options.inputs == ("-q", "--top-k")


def test_every_field_has_a_setting_with_help() -> None:
    settings = settings_of(ExtractOptions)
    assert {setting.field for setting in settings} == set(ExtractOptions.__dataclass_fields__)
    assert all(setting.flag.help.endswith(".") for setting in settings)
    assert [setting.name for setting in settings][:2] == ["input", "output"]


def test_settings_of_texts_that_name_files() -> None:
    """The shell completes those; a new one belongs to one side or the other."""
    found = {
        name: [setting.label for setting in command.settings if setting.is_path]
        for name, command in cli.commands.commands.items()
    }
    texts = {
        setting.label
        for command in cli.commands.commands.values()
        for setting in command.settings
        if setting.kind is str and not setting.choices and not setting.is_path
    }
    assert found["extract"] == ["INPUT", "--output", "--questions", "--model", "--reuse", "--summary", "--log-file"]
    assert found["report"] == ["ANSWERS", "--output", "--corpus", "--references"]
    assert texts == {
        "--column",
        "--device",
        "--devices",
        "--id",
        "--keep",
        "--max-duration",
        "--max-windows",
        "--question",
        "--ray-address",
        "--slice-by",
        "--strategy",
    }


def test_an_annotation_without_a_form_is_refused() -> None:
    from dataclasses import dataclass

    @dataclass
    class Odd:
        names: dict[str, str]

    Odd.__annotations__ = {"names": dict[str, str]}
    with pytest.raises(TypeError, match="no command-line form for"):
        settings_of(Odd)


# What stands in the file, what is typed, and what then holds.
OVERRULED = [
    ("no-answer-threshold = 0.4", ["--always-answer"], {"always_answer": True, "no_answer_threshold": None}),
    ("always-answer = true", ["--no-answer-threshold", "0.4"], {"always_answer": False, "no_answer_threshold": 0.4}),
    ('question = ["Where?"]', ["--questions", "q.jsonl"], {"question": (), "questions": "q.jsonl"}),
    ('questions = "q.jsonl"', ["--question", "Who?"], {"question": ("Who?",), "questions": None}),
    ('on-error = "skip"\nmax-errors = 3', ["--on-error", "fail"], {"on_error": "fail", "max_errors": None}),
    ("max-windows = 3", ["--decode", "hf-pipeline"], {"decode": "hf-pipeline", "max_windows": None}),
    ('decode = "squad-script"', ["--max-windows", "3"], {"decode": "native", "max_windows": "3"}),
    ("quiet = true", ["-v"], {"quiet": False, "verbose": True}),
    ("verbose = true", ["-q"], {"quiet": True, "verbose": False}),
    ('max-duration = "50m"\nkeep-run = true', ["-o", "-"], {"output": "-", "max_duration": None, "keep_run": False}),
    ('engine = "ray"\nray-address = "a:1"', ["--engine", "local"], {"engine": "local", "ray_address": None}),
    ("devices = 2", ["--device", "cuda:1"], {"device": "cuda:1", "devices": None}),
    ('backend = "openvino"\nprecision = "int8"', ["--backend", "torch"], {"backend": "torch", "precision": "auto"}),
    ("stride = 200", ["--max-length", "128"], {"max_length": 128, "stride": None}),
]  # fmt: skip


@pytest.mark.parametrize(("in_file", "typed", "expected"), OVERRULED)
def test_of_two_that_contradict_each_other_the_stronger_source_is_taken(
    qatool, work, monkeypatch, in_file, typed, expected
) -> None:
    Path("qatool.toml").write_text(f"[extract]\n{in_file}\n")
    assert qatool("extract", "in.jsonl", "-o", "out.parquet", *typed).code == 0
    assert {name: getattr(work.options, name) for name in expected} == expected


def test_the_log_tells_what_was_left_out(qatool) -> None:
    Path("in.jsonl").write_text("")
    Path("qatool.toml").write_text("[extract]\nno-answer-threshold = 0.4\n")
    words = ["extract", "in.jsonl", "-o", "out.jsonl", "--backend", "constant", "--always-answer"]
    assert "left out" not in qatool(*words).err
    told = 'an option is left out option="qatool.toml [extract] no-answer-threshold" contradicted_by=--always-answer'
    assert told in qatool(*words, "-v").err


def test_a_variable_overrules_the_file_and_yields_to_a_flag(qatool, work, monkeypatch) -> None:
    Path("qatool.toml").write_text("[extract]\nno-answer-threshold = 0.4\n")
    monkeypatch.setenv("QATOOL_EXTRACT_ALWAYS_ANSWER", "yes")
    assert qatool("extract", *ALWAYS).code == 0
    assert (work.options.always_answer, work.options.no_answer_threshold) == (True, None)
    assert qatool("extract", *ALWAYS, "--no-answer-threshold", "0.3").code == 0
    assert (work.options.always_answer, work.options.no_answer_threshold) == (False, 0.3)


def test_two_of_one_source_contradict_each_other(qatool) -> None:
    Path("qatool.toml").write_text("[extract]\nno-answer-threshold = 0.4\nalways-answer = true\n")
    result = qatool("extract", *ALWAYS)
    assert result.code == 2
    assert "--always-answer and --no-answer-threshold: contradict each other" in result.err
    result = qatool("extract", *ALWAYS, "-q", "-v", "--no-always-answer")
    assert result.code == 2
    assert "--quiet and --verbose: contradict each other" in result.err


def test_what_is_left_out_hides_no_other_problem(qatool, work) -> None:
    Path("qatool.toml").write_text("[extract]\nno-answer-threshold = 4\n")
    assert qatool("extract", *ALWAYS, "--always-answer").code == 0
    result = qatool("extract", *ALWAYS, "--always-answer", "--top-k", "0")
    assert result.err.splitlines() == ["Error: --top-k 0: must be at least 1"]


def test_rivals_are_fields() -> None:
    for command in cli.commands.commands.values():
        fields = {setting.field for setting in command.settings}
        assert all(fields.issuperset(setting.flag.rivals) for setting in command.settings)


def test_paths_and_single_texts_from_python() -> None:
    plain = ExtractOptions(inputs=("in.jsonl",), output="out.parquet", keep=("lang",), summary="s.json")
    given = ExtractOptions(inputs=Path("in.jsonl"), output=Path("out.parquet"), keep="lang", summary=Path("s.json"))
    assert given == plain == ExtractOptions(inputs="in.jsonl", output="out.parquet", keep=["lang"], summary="s.json")
    assert FinetuneOptions(inputs=[Path("a"), "b"], output=Path("m")).inputs == ("a", "b")
    with pytest.raises(AttributeError):
        plain.output = "other"


@pytest.mark.parametrize(
    ("given", "problems"),
    [
        ({"max_documents": "3"}, ["--max-documents '3': must be a whole number"]),
        ({"top_k": True}, ["--top-k True: must be a whole number"]),
        ({"top_k": None}, ["--top-k None: must be a whole number"]),
        ({"keep": 3}, ['--keep 3: must be texts, like ("a", "b")']),
        ({"inputs": (1,)}, ['INPUT (1,): must be texts, like ("a", "b")']),
        (
            {"decode": "natve", "always_answer": 1, "no_answer_threshold": "0.5"},
            [
                "--decode 'natve': must be one of native, squad-script, hf-pipeline",
                "--always-answer 1: must be true or false",
                "--no-answer-threshold '0.5': must be a number",
            ],
        ),
    ],
)
def test_values_of_other_types_from_python(given, problems) -> None:
    with pytest.raises(UsageError) as raised:
        ExtractOptions(**{"inputs": "in", "output": "out"} | given)
    assert set(raised.value.problems) == set(problems)


def test_numbers_of_numpy_are_numbers() -> None:
    options = ExtractOptions(inputs="in", output="out", top_k=np.int64(3), no_answer_threshold=np.float32(0.5))
    assert [type(one) for one in (options.top_k, options.no_answer_threshold)] == [int, float]
