"""Where an option's value comes from: flag over environment over file over default."""

from __future__ import annotations

from pathlib import Path

import pytest

from qatool import cli
from qatool.cli.options import settings_of
from qatool.options import ExtractOptions

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
