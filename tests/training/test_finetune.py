"""``qatool finetune`` from labelled rows to a model that transformers and ``extract`` use."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import signal
import threading
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from safetensors.torch import load_file
from traininghelpers import figures_of

from qatool import cli
from qatool.commands import extract, prep
from qatool.commands.finetune import run
from qatool.commands.labelled import validation_questions
from qatool.errors import (
    EnvironmentUnfitError,
    InputError,
    OutOfTime,
    OutputError,
    QualityGateError,
    ResumeRefusedError,
    Terminated,
    UsageError,
)
from qatool.jobs.runfolder.claim import locked_folder
from qatool.jobs.runfolder.plan import Plan
from qatool.options import ExtractOptions, FinetuneOptions, PrepOptions
from qatool.training import fit


def weights(folder) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / "model.safetensors")


def record(folder) -> list[dict[str, str]]:
    with (Path(folder) / "metrics.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_a_refused_start_leaves_nothing(options, tmp_path) -> None:
    with pytest.raises(EnvironmentUnfitError):
        run(options(model=str(tmp_path / "none")))
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_a_killed_run_moved_aside_is_put_back(options, tmp_path) -> None:
    aside = tmp_path / ".model.0123abcd.tmp"
    aside.mkdir()
    (aside / "qatool.json").write_text('{"qatool": "1"}')
    with pytest.raises(EnvironmentUnfitError):
        run(options(model=str(tmp_path / "none")))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "qatool.json").is_file()


def test_a_signal_while_features_are_prepared(options, monkeypatch, tmp_path) -> None:
    def preparing(self):
        os.kill(os.getpid(), signal.SIGTERM)
        self._stop.check()

    monkeypatch.setattr(prep._Preparation, "run", preparing)
    with pytest.raises(Terminated, match=r"^terminated; the same command continues$"):
        run(options(max_duration="0s"))
    assert not list((tmp_path / "model.qatool").glob("*.json"))


def test_no_time_limit_ends_the_preparation(options) -> None:
    """What is half prepared is of no use: each start would begin anew."""
    with pytest.raises(OutOfTime):
        run(options(max_duration="0s"))
    features = list(Path(os.environ["QATOOL_CACHE"]).glob("features/*/manifest.json"))
    assert len(features) == 1


@pytest.mark.parametrize("more", [(), ("--restart",)])
def test_unfinished_training_is_refused_to_other_commands(options, labelled, tmp_path, capfd, more) -> None:
    run_folder = tmp_path / "model.qatool"
    run_folder.mkdir()
    Plan(identity={"model": "x"}, limits={}, command="finetune").save(run_folder / "plan.json")
    (run_folder / "last.ckpt").touch()
    told = f"{run_folder}: holds unfinished work of qatool finetune; finish that first, remove the folder, or choose "
    for words in (["extract", *more], ["extract", "--dry-run"], ["prep"]):
        assert cli.run([*words, str(labelled), "-o", f"{tmp_path}/model/", "--progress", "none"]) == 6
        assert capfd.readouterr().err == f"Error: {told}another output\n"
    assert cli.run(["extract", str(tmp_path / "none.jsonl"), "-o", f"{tmp_path}/model/", "--progress", "none"]) == 6
    assert sorted(path.name for path in run_folder.iterdir()) == ["last.ckpt", "lock", "plan.json"]
    Plan(identity={"model": "x"}, limits={"rows": 1}, command="extract").save(run_folder / "plan.json")
    with pytest.raises(ResumeRefusedError, match="holds unfinished work of qatool extract; finish that first"):
        run(options(restart=bool(more)))


def test_a_model_that_transformers_loads_and_extract_uses(options, labelled, tmp_path) -> None:
    result = run(options(validation=str(labelled), validations=2, epochs=6))
    folder = result.folder
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "config.json",
        "curve.svg",
        "metrics.csv",
        "model.safetensors",
        "qatool.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert not folder.with_name("model.qatool").exists()
    settings = json.loads((folder / "qatool.json").read_text())
    assert (settings["max_length"], settings["stride"], settings["knows_no_answer"]) == (96, 16, True)

    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    loaded = AutoModelForQuestionAnswering.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert loaded(**tokenizer("Which word?", "One of these.", return_tensors="pt")).start_logits.shape[0] == 1

    scored = [line for line in record(folder) if line["f1"]]
    assert [int(line["step"]) for line in scored] == [result.steps // 2, result.steps]
    assert result.best.f1 == pytest.approx(max(float(line["f1"]) for line in scored), abs=1e-3)
    losses = [float(line["loss"]) for line in record(folder) if line["loss"]]
    assert losses[-1] < losses[0]
    card = (folder / "README.md").read_text()
    assert "| train.jsonl | 1 | 30 | 10 |" in card
    assert f"| {result.best.exact_match:.2f} | {result.best.f1:.2f} |" in card
    assert (folder / "curve.svg").read_text().count("<svg") == 1

    output = tmp_path / "answers.parquet"
    extract.run(ExtractOptions(inputs=(str(labelled),), output=str(output), model=str(folder)))
    assert pq.read_table(output).num_rows == 40


def test_the_figures_are_those_of_extract_and_evaluate(options, labelled, tmp_path) -> None:
    only = tmp_path / "answerable.jsonl"
    only.write_text("".join(line + "\n" for line in labelled.read_text().splitlines() if '"text": []' not in line))
    result = run(options(inputs=(str(only),), validation=str(only), validations=1, epochs=8))
    found = figures_of(result.folder, only, tmp_path / "answers.parquet")
    assert result.best.f1 == pytest.approx(found["f1"], abs=1e-6)
    assert result.best.exact_match == pytest.approx(found["exact"], abs=1e-6)
    settings = json.loads((result.folder / "qatool.json").read_text())
    assert settings["knows_no_answer"] is False


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_validation_reads_several_batches_at_once(
    options, labelled, tmp_path, monkeypatch, two_threads, precision
) -> None:
    """Each on one thread, with the training's arithmetic; the answers are those that one stream gives."""
    from qatool.training import validation

    dev = tmp_path / "dev.jsonl"
    dev.write_text(labelled.read_text() * 4)
    asked: set[tuple[str, int, bool]] = set()
    logits, figures = validation.ModelInMemory.logits, validation.Validator.figures
    alone = partial(torch.autocast, "cpu", dtype=torch.bfloat16, enabled=precision == "bf16")

    def noting(self, batch):
        name = threading.current_thread().name.partition("_")[0]
        asked.add((name, torch.get_num_threads(), torch.is_autocast_enabled("cpu")))
        return logits(self, batch)

    def twice(self) -> validation.Figures:
        found, answers = figures(self), sorted(self._answers)
        assert torch.get_num_threads() == 2
        torch.set_num_threads(1)
        self.begin(torch.device("cpu"), alone)
        for shard in self.shards:
            self.read(shard)
        assert figures(self) == found
        torch.set_num_threads(2)
        assert sorted(self._answers) == answers
        assert len(answers) == 160
        return found

    monkeypatch.setattr(validation.ModelInMemory, "logits", noting)
    monkeypatch.setattr(validation.Validator, "figures", twice)
    run(options(validation=str(dev), validations=1, precision=precision, epochs=0.2))
    assert asked == {(name, 1, precision == "bf16") for name in ("qatool-stream", "MainThread")}


def test_a_validation_that_fails_leaves_torch_its_threads(options, labelled, monkeypatch, two_threads) -> None:
    from qatool.training import validation

    def broken(self, batch):
        raise ZeroDivisionError

    monkeypatch.setattr(validation.ModelInMemory, "logits", broken)
    with pytest.raises(ZeroDivisionError):
        run(options(validation=str(labelled), validations=1, epochs=0.2))
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("knew", [True, False])
def test_a_model_that_knew_no_answer_still_does(options, labelled, tiny_model, tmp_path, knew) -> None:
    """Also when it learns from answerable questions alone."""
    start = Path(shutil.copytree(tiny_model, tmp_path / "start"))
    (start / "qatool.json").write_text(json.dumps({"knows_no_answer": knew}))
    only = tmp_path / "answerable.jsonl"
    only.write_text("".join(line + "\n" for line in labelled.read_text().splitlines() if '"text": []' not in line))
    folder = run(options(inputs=(str(only),), model=str(start))).folder
    assert json.loads((folder / "qatool.json").read_text())["knows_no_answer"] is knew


def test_the_weights_kept_are_those_of_the_best_validation(options, labelled, monkeypatch) -> None:
    """The first of two validations is told to be the better one; a run that ends there has the same weights."""
    from qatool.training import validation

    told = iter([80.0, 20.0])
    genuine = validation.Validator.figures
    monkeypatch.setattr(validation.Validator, "figures", lambda self: genuine(self)._replace(f1=next(told)))
    result = run(options(validation=str(labelled), validations=2, epochs=4))
    assert (result.best.f1, result.best.step) == (80.0, result.steps // 2)
    last = record(result.folder)[-1]
    assert (last["f1"], int(last["step"])) == ("20", result.steps)


@pytest.mark.parametrize("moving_average", [None, 0.5])
def test_the_best_of_as_many_validations_as_steps(options, labelled, monkeypatch, moving_average) -> None:
    """Where every step is validated, the weights kept are still those that were."""
    from qatool.training import validation

    told = iter([20.0, 90.0, 30.0, 40.0])
    seen: list[dict[str, torch.Tensor]] = []
    genuine = validation.Validator.figures

    def figures(self) -> validation.Figures:
        seen.append({name: value.detach().clone() for name, value in self._model.named_parameters()})
        return genuine(self)._replace(f1=next(told))

    monkeypatch.setattr(validation.Validator, "figures", figures)
    chosen = {"validation": str(labelled), "validations": 4, "batch_size": 64, "epochs": 2, "learning_rate": 1e-2}
    result = run(options(moving_average=moving_average, **chosen))
    assert (result.steps, result.best.step, result.best.f1) == (4, 2, 90.0)
    found = weights(result.folder)
    assert all(torch.equal(found[name], value) for name, value in seen[1].items())
    assert not all(torch.equal(seen[0][name], value) for name, value in seen[1].items())


def stopping_after(steps: int, monkeypatch) -> None:
    """Let the time be over when this many optimiser steps were done."""
    from qatool.training.callbacks import Checkpoints

    genuine = Checkpoints.on_train_batch_end

    def stop_there(self, trainer, *rest) -> None:
        if trainer.global_step == steps:
            monkeypatch.setattr(self._stop, "_deadline", 0.0)
        genuine(self, trainer, *rest)

    monkeypatch.setattr(Checkpoints, "on_train_batch_end", stop_there)


@pytest.mark.parametrize(
    ("stopped_at", "moving_average"), [(1, None), (12, None), (20, None), (21, None), (12, 0.8), (20, 0.8), (21, 0.8)]
)
def test_a_run_that_continues_ends_with_the_same_weights(
    options, labelled, tmp_path, monkeypatch, stopped_at, moving_average
) -> None:
    """Stopped in the first epoch, at its end, at a validation (step 20) and behind it; with dropout."""
    chosen = {"validation": str(labelled), "validations": 2, "epochs": 3.2, "dropout": 0.1}
    chosen["moving_average"] = moving_average
    whole = run(options(output=str(tmp_path / "whole"), **chosen))
    with monkeypatch.context() as patch:
        stopping_after(stopped_at, patch)
        with pytest.raises(OutOfTime, match="--max-duration 9h: is over; the same command continues"):
            run(options(max_duration="9h", **chosen))
    assert not (tmp_path / "model").exists()
    continued = run(options(**chosen))
    assert continued.steps == whole.steps == 40
    first, second = weights(whole.folder), weights(continued.folder)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert [line["step"] for line in record(continued.folder)] == [line["step"] for line in record(whole.folder)]
    assert [line["loss"] for line in record(continued.folder)] == [line["loss"] for line in record(whole.folder)]


def test_a_run_stopped_at_its_very_end_leaves_the_moving_average(options, tmp_path, monkeypatch) -> None:
    whole = run(options(output=str(tmp_path / "whole"), moving_average=0.8))
    with monkeypatch.context() as patch:
        stopping_after(whole.steps, patch)
        with pytest.raises(OutOfTime):
            run(options(max_duration="9h", moving_average=0.8))
    first, second = weights(whole.folder), weights(run(options(moving_average=0.8)).folder)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert "Not validated; the weights are the moving average" in (tmp_path / "model" / "README.md").read_text()


def test_other_options_do_not_continue_a_run(options, tmp_path, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        stopping_after(2, patch)
        with pytest.raises(OutOfTime):
            run(options(max_duration="9h"))
    with pytest.raises(ResumeRefusedError, match=r"learning_rate was 0\.001 and is now 0\.002.*--restart"):
        run(options(learning_rate=2e-3))
    assert run(options(learning_rate=2e-3, restart=True)).folder.is_dir()


def assert_alike(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """The same but for rounding, which Adam makes large where a gradient is next to nothing."""
    difference = torch.cat([(one[name] - other[name]).abs().flatten() for name in one])
    assert float((difference > 1e-5).float().mean()) < 0.002, difference.max()


def test_accumulated_micro_batches_are_one_step(options, tmp_path) -> None:
    """The same weights but for rounding, however few tokens are read at once."""
    one = weights(run(options(output=str(tmp_path / "one"), dropout=0.0)).folder)
    many = weights(run(options(output=str(tmp_path / "many"), dropout=0.0, batch_tokens=200)).folder)
    assert_alike(one, many)


def test_the_step_is_that_of_plain_transformers(options, labelled, tiny_model, tmp_path) -> None:
    """One step of AdamW over all windows, written out with the model's own loss."""
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    made = run(
        options(
            batch_size=512, dropout=0.0, weight_decay=0.0, warmup=0.0, clip=1e9, learning_rate=1e-3, max_length=128
        )
    )
    assert made.steps == 1
    prep.run(
        PrepOptions(
            inputs=(str(labelled),), output=str(tmp_path / "f"), model=str(tiny_model), max_length=128, stride=16
        )
    )
    rows = pq.read_table(next((tmp_path / "f").glob("features-*"))).to_pylist()
    model = AutoModelForQuestionAnswering.from_pretrained(tiny_model, dtype=torch.float32).eval()
    padded = AutoTokenizer.from_pretrained(tiny_model).pad(
        [{"input_ids": row["input_ids"], "token_type_ids": row["token_type_ids"]} for row in rows],
        return_tensors="pt",
    )
    labels = {name: torch.tensor([row[name] for row in rows]) for name in ("start_positions", "end_positions")}
    output = model(**padded)
    outside = padded["attention_mask"] == 0
    loss = sum(
        torch.nn.functional.cross_entropy(logits.masked_fill(outside, -torch.inf), labels[name]) / 2
        for logits, name in ((output.start_logits, "start_positions"), (output.end_logits, "end_positions"))
    )
    loss.backward()
    torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0).step()
    expected, found = model.state_dict(), weights(made.folder)
    assert_alike({name: expected[name] for name in found}, found)


def test_features_and_rows_make_the_same_model(options, labelled, tiny_model, tmp_path) -> None:
    folder = tmp_path / "features"
    prep.run(
        PrepOptions(inputs=(str(labelled),), output=str(folder), model=str(tiny_model), max_length=96, stride=16)
    )
    one = weights(run(options(output=str(tmp_path / "one"))).folder)
    other = weights(run(options(output=str(tmp_path / "other"), inputs=(str(folder),))).folder)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_half_precision(options) -> None:
    assert {value.dtype for value in weights(run(options(half=True)).folder).values()} == {torch.float16}


def test_whoever_may_read_the_configuration_may_read_the_weights(options) -> None:
    folder = run(options()).folder
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes["model.safetensors"] == modes["config.json"]


def test_dropout_of_zero_is_in_the_configuration(options) -> None:
    config = json.loads((run(options(dropout=0.0)).folder / "config.json").read_text())
    assert (config["hidden_dropout_prob"], config["attention_probs_dropout_prob"]) == (0.0, 0.0)


def test_raw_files_are_prepared_once(options, monkeypatch, tmp_path) -> None:
    run(options(output=str(tmp_path / "one")))
    monkeypatch.setattr(prep, "run", lambda *_, **__: pytest.fail("prepared again"))
    run(options(output=str(tmp_path / "two")))


def test_early_stopping(options, labelled, monkeypatch) -> None:
    from qatool.training import validation

    told = iter([50.0, 40.0, 30.0, 20.0])
    genuine = validation.Validator.figures
    monkeypatch.setattr(validation.Validator, "figures", lambda self: genuine(self)._replace(f1=next(told)))
    result = run(options(validation=str(labelled), validations=4, epochs=4, patience=2))
    assert result.best.f1 == 50.0
    assert result.steps == 3 * result.best.step


def test_a_gate_on_f1(options, labelled, tmp_path) -> None:
    with pytest.raises(QualityGateError, match=r"F1 \d+\.\d\d is below --min-f1 100; the model is in"):
        run(options(validation=str(labelled), validations=1, min_f1=100.0))
    assert (tmp_path / "model" / "model.safetensors").exists()


def test_no_label_at_all(options, tmp_path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "q", "context": "some words"}\n')
    with pytest.raises(InputError, match="TRAIN: no row has a label; give each an answers column"):
        run(options(inputs=(str(path),)))


def test_no_row_at_all(options, labelled, tmp_path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    with pytest.raises(InputError, match="TRAIN: no row has a label"):
        run(options(inputs=(str(empty),)))
    assert run(options(inputs=(str(empty), str(labelled)))).steps


@pytest.mark.parametrize(
    "row",
    [
        {"question": "Who?", "context": "Anna", "answers": {"text": ["Bob"], "answer_start": [0]}},
        {"question": " ", "context": "Anna", "answers": {"text": [], "answer_start": []}},
    ],
)
def test_rows_without_a_window(options, labelled, tmp_path, row) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match="TRAIN: no row has a label"):
        run(options(inputs=(str(path),), on_error="skip"))
    assert run(options(inputs=(str(path), str(labelled)), on_error="skip")).steps


def test_bad_rows_are_told_of(options, labelled, tiny_model, tmp_path, capfd) -> None:
    good = labelled.read_text()
    bad = {"question": "Who?", "context": "Nobody.", "answers": {"text": ["Somebody"], "answer_start": [3]}}
    path = tmp_path / "rows.jsonl"
    path.write_text(good + json.dumps(bad) + "\n")
    words = ["finetune", str(path), "-o", str(tmp_path / "m"), "--model", str(tiny_model), "--max-length", "96"]
    assert cli.run([*words, "--stride", "16", "--accelerator", "cpu", "--precision", "fp32", "-q"]) == 5
    told = "Error: 1 row was rejected and not learnt from; qatool prep tells which, and why\n"
    assert capfd.readouterr().err == told
    assert (tmp_path / "m" / "model.safetensors").exists()


def test_bad_rows_are_counted_over_all_inputs_and_in_features_from_the_cache(options, labelled, tmp_path) -> None:
    bad = json.dumps({"question": None, "context": "Nobody.", "answers": {"text": [], "answer_start": []}})
    paths = []
    for name in ("a", "b"):
        path = tmp_path / f"{name}.jsonl"
        path.write_text(f"{labelled.read_text()}{bad}\n{bad}\n")
        paths.append(str(path))
    inputs = tuple(paths)
    assert run(options(inputs=inputs, on_error="skip", max_errors=4, output=str(tmp_path / "m"))).rejected == 4
    with pytest.raises(InputError, match="4 rows are bad, more than --max-errors 3"):
        run(options(inputs=inputs, on_error="skip", max_errors=3))
    with pytest.raises(InputError, match="more than --max-errors 1"):
        run(options(inputs=inputs[:1], on_error="skip", max_errors=1))


@pytest.mark.parametrize("strategy", ["foo", "deepspeed", "fsdp"])
def test_devices_that_lightning_cannot_train_on(options, strategy) -> None:
    with pytest.raises(UsageError, match=f"--accelerator cpu --strategy {strategy}: Lightning cannot train so"):
        run(options(strategy=strategy))


@pytest.mark.parametrize("devices", ["0", "-2", "1.5", "foo", ""])
def test_devices_that_are_none(options, devices) -> None:
    with pytest.raises(UsageError, match="is no number of devices"):
        options(devices=devices)


@pytest.mark.parametrize("devices", ["2", "0,1", "0, 1", "1,", "auto", "-1", "02"])
def test_devices_as_lightning_takes_them(options, devices) -> None:
    assert options(devices=devices).devices == devices


def test_there_is_nothing_to_compile_for_on_a_cpu(options) -> None:
    with pytest.raises(EnvironmentUnfitError, match="--compile: is for a CUDA card"):
        run(options(compile=True))


def test_status_tells_nothing_of_a_training(tmp_path, capfd) -> None:
    folder = tmp_path / "model.qatool"
    folder.mkdir()
    Plan(identity={"model": "x"}, limits={}, command="finetune").save(folder / "plan.json")
    assert cli.run(["status", f"{tmp_path}/model"]) == 3
    assert (
        "is the work of qatool finetune, of which status tells nothing; the same command continues it"
        in capfd.readouterr().err
    )


def test_status_tells_nothing_of_a_preparation(tmp_path, capfd) -> None:
    """It has no plan; the lock says whose work it is."""
    with locked_folder(tmp_path / "features.qatool", command="prep"):
        assert cli.run(["status", f"{tmp_path}/features"]) == 3
    assert (
        "is the work of qatool prep, of which status tells nothing; it shows its own progress"
        in capfd.readouterr().err
    )


def test_features_that_were_made_without_negatives(options, labelled, tiny_model, tmp_path, monkeypatch) -> None:
    """Asking for some does not make any, and says so; of what they were made with nothing is said."""
    from qatool.commands import trainingfeatures

    said: list[str] = []
    monkeypatch.setattr(trainingfeatures, "log_event", lambda what, **_: said.append(what))
    chosen = {"model": str(tiny_model), "max_length": 96, "stride": 16, "cut_contexts": 0.5}
    prep.run(PrepOptions(inputs=(str(labelled),), output=str(tmp_path / "f"), **chosen))
    for cut, heard in ((0.5, []), (0.0, []), (0.2, ["features stay as they were made"])):
        run(options(inputs=(str(tmp_path / "f"),), output=str(tmp_path / str(cut)), cut_contexts=cut))
        assert said == heard


def test_an_input_that_cannot_be_read(options, labelled, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(labelled))

    monkeypatch.setattr(hashlib, "file_digest", refuse)
    with pytest.raises(InputError, match=re.escape(f"{labelled}: ")):
        run(options())


def test_features_of_another_tokenizer(options, tmp_path) -> None:
    from tokenizerhelpers import byte_level_bpe

    folder, other = tmp_path / "features", tmp_path / "other"
    byte_level_bpe().save_pretrained(other)
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"question": "q", "context": "some words", "answers": {"text": ["some"], "answer_start": [0]}}\n'
    )
    prep.run(PrepOptions(inputs=(str(path),), output=str(folder), model=str(other)))
    with pytest.raises(InputError, match=r"was made with another tokenizer .* make the features again with --model"):
        run(options(inputs=(str(folder),)))


def test_features_tell_the_size_of_windows(options, labelled, tiny_model, tmp_path) -> None:
    """What ``qatool.json`` says of the windows is what was learnt from, whether or not it was asked for."""
    for name, length in (("short", 48), ("long", 80)):
        prep.run(
            PrepOptions(
                inputs=(str(labelled),),
                output=str(tmp_path / name),
                model=str(tiny_model),
                max_length=length,
                stride=12,
            )
        )
    short, long = str(tmp_path / "short"), str(tmp_path / "long")
    folder = run(options(inputs=(short, str(labelled)), max_length=None, stride=None)).folder
    settings = json.loads((folder / "qatool.json").read_text())
    assert (settings["max_length"], settings["stride"]) == (48, 12)

    with pytest.raises(UsageError, match=r"--max-length 96: the windows in .*short were cut with 48; drop it"):
        run(options(inputs=(short,), stride=None))
    with pytest.raises(InputError, match=r"long: holds windows of other sizes than .*short .*--max-length 80 .* 48 "):
        run(options(inputs=(short, long), max_length=None, stride=None))
    with pytest.raises(UsageError, match=r"--limit 3: the features in .*short are all read; drop it"):
        run(options(inputs=(short,), max_length=None, stride=None, limit=3))


def test_windows_longer_than_the_model_reads(options) -> None:
    with pytest.raises(UsageError, match="--max-length 512: the model reads at most 128 tokens; lower it"):
        run(options(max_length=512, stride=16))


def test_a_loss_that_is_no_number(options, tmp_path) -> None:
    with pytest.raises(
        EnvironmentUnfitError,
        match=r"step \d+: the gradient is not finite .*lower --learning-rate, or use --precision fp32$",
    ):
        run(options(learning_rate=1e30, clip=1e30, warmup=0.0, epochs=5))
    assert not (tmp_path / "model").exists()


def test_a_bad_validation_row(options, tmp_path) -> None:
    path = tmp_path / "dev.jsonl"
    path.write_text('{"question": "q"}\n')
    with pytest.raises(InputError, match=r"dev\.jsonl:1: no field 'context'; mend the row of the valid"):
        run(options(validation=str(path)))


def test_a_full_disk(options, tmp_path, monkeypatch) -> None:
    from lightning.pytorch import Trainer

    def full(*_) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        stopping_after(2, patch)
        patch.setattr(Trainer, "save_checkpoint", full)
        with pytest.raises(OutputError, match=r"last\.ckpt: cannot be written: the disk is full; free some space"):
            run(options(max_duration="9h"))


def test_whatever_a_tokenizer_saves_is_replaced(options, tiny_model, tmp_path) -> None:
    start = Path(shutil.copytree(tiny_model, tmp_path / "start"))
    (start / "chat_template.jinja").write_text("{{ messages }}")
    for seed in (1, 2):
        folder = run(options(model=str(start), seed=seed)).folder
    assert (folder / "chat_template.jinja").exists()
    (folder / "thesis.tex").touch()
    with pytest.raises(OutputError, match=r"holds 'thesis\.tex', which qatool did not write"):
        run(options(model=str(start)))


def test_features_with_rejected_rows_are_validated_on_without_them(options, labelled, tmp_path) -> None:
    bad = labelled.read_text() + json.dumps({"id": "bad", "question": "?", "context": "c", "answers": 5}) + "\n"
    (tmp_path / "bad.jsonl").write_text(bad)
    words = ["--model", options().model, "--max-length", "96", "--stride", "16", "-q", "--workers", "1"]
    assert cli.run(["prep", str(tmp_path / "bad.jsonl"), "-o", str(tmp_path / "features"), *words]) == 5
    given = options(inputs=(str(tmp_path / "features"),), validation=str(tmp_path / "features"), validations=1)
    assert len(validation_questions(given)) == len(labelled.read_text().splitlines())
    assert run(given).best is not None


def test_another_folder_is_not_replaced(options, tmp_path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.tex").touch()
    with pytest.raises(OutputError, match=r"holds 'thesis\.tex', which qatool did not write"):
        run(options())


def test_all_problems_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        FinetuneOptions(
            inputs=("a.jsonl", "-"),
            output="-",
            epochs=0,
            dropout=1.0,
            patience=3,
            train_weight=("b.jsonl=2", "nonsense"),
            max_duration="soon",
        )
    problems = caught.value.problems
    for start in (
        "--epochs 0: is out of range",
        "--dropout 1.0: is out of range",
        "--train-weight 'b.jsonl=2': b.jsonl is no TRAIN",
        "--train-weight 'nonsense': not of the form FILE=W",
        "-o -: a model is a folder",
        "TRAIN -: training cannot read standard input",
        "--max-duration soon: not a time",
        "--patience: needs questions to evaluate",
    ):
        assert any(problem.startswith(start) for problem in problems), start


def test_so_few_windows_that_validations_are_more(options, labelled, tmp_path) -> None:
    few = tmp_path / "few.jsonl"
    few.write_text("".join(labelled.read_text().splitlines(keepends=True)[:3]))
    assert run(options(inputs=(str(few),), validation=str(few), validations=4)).steps == 4


def test_validation_in_a_folder_with_brackets(options, labelled, tmp_path, tiny_model) -> None:
    folder = tmp_path / "dev[1]"
    prep.run(PrepOptions(inputs=(str(labelled),), output=str(folder), model=str(tiny_model)))
    assert run(options(validation=str(folder), validations=1)).best is not None


def test_features_without_token_types_are_not_those_of_a_model_with_them(
    options, labelled, tmp_path, tiny_model
) -> None:
    plain = Path(shutil.copytree(tiny_model, tmp_path / "plain"))
    settings = json.loads((plain / "tokenizer_config.json").read_text())
    settings["model_input_names"] = ["input_ids", "attention_mask"]
    (plain / "tokenizer_config.json").write_text(json.dumps(settings))
    first = run(options(output=str(tmp_path / "first"))).folder
    run(options(model=str(plain), output=str(tmp_path / "other")))
    again = run(options(output=str(tmp_path / "again"))).folder
    assert (first / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()
    folder = tmp_path / "features"
    prep.run(PrepOptions(inputs=(str(labelled),), output=str(folder), model=str(plain), max_length=96, stride=16))
    with pytest.raises(InputError, match="features: holds no token_type_ids, which"):
        run(options(inputs=(str(folder),)))


def test_other_features_under_the_same_name_and_time(options, labelled, tmp_path, tiny_model) -> None:
    """As a copy that keeps times leaves them."""
    other = tmp_path / "other.jsonl"
    other.write_text("".join(reversed(labelled.read_text().splitlines(keepends=True)[:30])))
    folder, weights_of = tmp_path / "features", []
    for source in (labelled, other, other):
        shutil.rmtree(folder, ignore_errors=True)
        prep.run(
            PrepOptions(inputs=(str(source),), output=str(folder), model=str(tiny_model), max_length=96, stride=16)
        )
        for path in folder.iterdir():
            os.utime(path, (1_700_000_000, 1_700_000_000))
        made = run(options(inputs=(str(folder),), output=str(tmp_path / f"m{len(weights_of)}"))).folder
        weights_of.append((made / "model.safetensors").read_bytes())
    assert weights_of[0] != weights_of[1] == weights_of[2]


def test_a_run_does_not_go_on_with_other_labels_to_validate_on(options, labelled, tmp_path) -> None:
    dev = tmp_path / "dev.jsonl"
    dev.write_text(labelled.read_text())
    with pytest.raises(OutOfTime):
        run(options(validation=str(dev), validations=2, epochs=20, max_duration="0s"))
    rows = [json.loads(line) for line in dev.read_text().splitlines()]
    dev.write_text("".join(json.dumps({**row, "answers": {"text": [], "answer_start": []}}) + "\n" for row in rows))
    with pytest.raises(ResumeRefusedError, match="validation"):
        run(options(validation=str(dev), validations=2, epochs=20))


def test_half_precision_clips_the_gradient_that_single_precision_has(options, monkeypatch) -> None:
    """With the scaler of a CPU, as that of a card is not at hand."""
    genuine, clip = fit.Trainer, torch.nn.utils.clip_grad_norm_
    norms: list[float] = []

    def noted(parameters, most):
        norms.append(float(clip(parameters, most)))
        return torch.tensor(norms[-1])

    def scaled(**given):
        precision = MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=256.0))
        return genuine(**{**given, "precision": None, "plugins": [precision]})

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", noted)
    run(options(dropout=0.0))
    single, norms[:] = list(norms), []
    monkeypatch.setattr(fit, "Trainer", scaled)
    run(options(dropout=0.0, restart=True))
    assert norms[0] == pytest.approx(single[0], rel=0.02)


def test_the_model_may_lie_in_the_folder_that_is_trained_on(options, labelled, tmp_path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_bytes(labelled.read_bytes())
    again = options(inputs=(str(tmp_path / "data"),), output=str(tmp_path / "data" / "model"), limit=8)
    run(again)
    before = weights(tmp_path / "data" / "model")
    assert (tmp_path / "data" / "model" / "README.md").exists()
    run(again)
    assert_alike(weights(tmp_path / "data" / "model"), before)
