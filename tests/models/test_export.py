"""``qatool export``: a folder that ``extract`` takes, int8 on request, and nothing written when answers suffer."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
from support import FIXTURES

from qatool import cli
from qatool.commands import export as command
from qatool.commands.export import Comparison, run
from qatool.errors import EnvironmentUnfitError, QualityGateError, UsageError
from qatool.jobs.runfolder.claim import locked_folder
from qatool.options import ExportOptions

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def model(tiny_model, tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QATOOL_CACHE", str(tmp_path / "cache"))
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    settings = {"temperature": 1.5, "no_answer_threshold": 0.9, "stride": 20, "trained_on": "nothing"}
    (folder / "qatool.json").write_text(json.dumps(settings))
    rows = [json.loads(line) for line in (FIXTURES / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
    short = [row for row in rows if len(row["context"]) < 900][:36]
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in short))
    unlabelled = [{"question": row["question"], "context": row["context"]} for row in short]
    (tmp_path / "plain.jsonl").write_text("".join(json.dumps(row) + "\n" for row in unlabelled))
    return folder


def answers(name: str, *words: str) -> list[dict]:
    assert cli.run(["extract", "dev.jsonl", "-q", "--model", name, "-o", "a.parquet", "--restart", *words]) == 0
    return pq.read_table("a.parquet").to_pylist()


def test_the_folder_answers_as_the_model_does(model, capsys) -> None:
    assert cli.run(["export", "model", "-o", "out", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["precision"], told["labelled"], told["same"], told["f1_after"]) == ("fp32", False, 100.0, 100.0)
    assert {path.name for path in (model.parent / "out").iterdir()} == {
        "README.md", "config.json", "openvino_model.bin", "openvino_model.xml", "qatool.json", "tokenizer.json",
        "tokenizer_config.json",
    }  # fmt: skip
    settings = json.loads((model.parent / "out" / "qatool.json").read_text())
    assert (settings["temperature"], settings["stride"], settings["trained_on"]) == (1.5, 20, "nothing")
    assert settings["exported"]["precision"] == "fp32"
    before, after = answers("model", "--backend", "torch"), answers("out")
    assert json.loads((model.parent / "a.parquet.summary.json").read_text())["backend"] == "openvino"
    assert [row["answer"] for row in before] == [row["answer"] for row in after]
    assert [row["score"] for row in after] == pytest.approx([row["score"] for row in before], abs=1e-4)
    # Once more into the same folder, which is ours to replace.
    assert cli.run(["export", "model", "-o", "out", "-q"]) == 0
    assert not [path for path in model.parent.iterdir() if path.name.startswith(".")]


def test_int8_is_held_against_the_model(model, capsys) -> None:
    words = ["export", "model", "-o", "out", "--int8", "--calibration-data", "dev.jsonl", "--max-f1-drop", "100"]
    assert cli.run(words) == 0, capsys.readouterr().err
    shown = capsys.readouterr().out
    assert "24 questions (dev.jsonl)\n" in shown
    assert "int8, " in shown
    found = answers("out")
    summary = json.loads((model.parent / "a.parquet.summary.json").read_text())
    assert (summary["backend"], summary["precision"], len(found)) == ("openvino", "int8", 36)
    assert _products_behind_gelu(model.parent / "out" / "openvino_model.xml") == ["f32", "int8"]
    assert "is quantised" in _error(
        capsys, ["extract", "dev.jsonl", "-o", "b.parquet", "--model", "out", "--precision", "fp32"], 4
    )
    assert "is exported already" in _error(capsys, ["export", "out", "-o", "again"], 4)


def _products_behind_gelu(graph: Path) -> list[str]:
    """The arithmetic of each, from the first layer to the last."""
    import openvino

    found = []
    for operation in openvino.Core().read_model(graph).get_ordered_ops():
        way = [operation]
        while way[-1].get_type_name() in ("MatMul", "FakeQuantize", "Multiply"):
            way.append(way[-1].input_value(0).get_node())
        kinds = [one.get_type_name() for one in way]
        if kinds[0] == "MatMul" and kinds[-1] == "Gelu":
            found.append("int8" if "FakeQuantize" in kinds else "f32")
    return found


def test_nothing_is_written_when_f1_falls(model, monkeypatch) -> None:
    (model.parent / "out").mkdir()
    worse = Comparison(40, "dev.jsonl", True, 80, 79, 85.25, 84.5, 97)
    monkeypatch.setattr(command, "_compare", lambda *_: worse)
    with pytest.raises(QualityGateError, match=r"F1 falls by 0\.75 \(from 85\.25 to 84\.50 on 40 questions\), more"):
        run(ExportOptions(model="model", output="out"))
    assert not list((model.parent / "out").iterdir())
    assert not [path for path in model.parent.iterdir() if path.name.startswith(".")]
    assert run(ExportOptions(model="model", output="out", max_f1_drop=0.75)).comparison == worse


def test_what_killed_runs_left_is_put_back_or_removed(model, monkeypatch) -> None:
    aside, run_folder = model.parent / ".out.0123abcd.tmp", model.parent / "out.qatool"
    for folder, name in ((aside, "qatool.json"), (run_folder / "model", "config.json")):
        folder.mkdir(parents=True)
        (folder / name).write_text('{"qatool": "1"}')

    def fails(*_: object) -> None:
        assert not list((run_folder / "model").glob("config.json"))
        raise EnvironmentUnfitError("no")

    monkeypatch.setattr(command, "_save_companions", fails)
    with pytest.raises(EnvironmentUnfitError, match="no"):
        run(ExportOptions(model="model", output="out"))
    assert [path.name for path in (model.parent / "out").iterdir()] == ["qatool.json"]
    assert not aside.exists()
    assert not run_folder.exists()


def test_one_export_to_a_folder_at_a_time(model, capsys) -> None:
    with locked_folder(model.parent / "out.qatool", command="export"):
        assert "another run" in _error(capsys, ["export", "model", "-o", "out"], 7)


def test_without_labels_the_model_is_right(model) -> None:
    found = run(ExportOptions(model="model", output="out", calibration_data="plain.jsonl")).comparison
    assert (found.questions, found.labelled, found.f1_before, found.same) == (36, False, 100.0, 100.0)
    labelled = run(ExportOptions(model="model", output="out", calibration_data="dev.jsonl")).comparison
    assert labelled.labelled
    assert labelled.f1_before < 100


def test_refusals(model, monkeypatch) -> None:
    with pytest.raises(UsageError, match="--int8: needs questions to take ranges from; add --calibration-data FILE"):
        ExportOptions(model="model", output="out", int8=True)
    with pytest.raises(UsageError, match="--calibration-data -: standard input"):
        ExportOptions(model="model", output="out", calibration_data="-")
    monkeypatch.setattr(command, "find_spec", lambda _: None)
    with pytest.raises(EnvironmentUnfitError, match=r"--int8: needs nncf; run: pip install 'qatool\[openvino\]'"):
        run(ExportOptions(model="model", output="out", int8=True, calibration_data="dev.jsonl"))


def _error(capsys, words: list[str], code: int) -> str:
    assert cli.run(words) == code
    return capsys.readouterr().err
