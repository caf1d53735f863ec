"""``--average`` and ``--moving-average``: the mean of weights, of several models or of several steps."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from traininghelpers import figures_of

from qatool.commands.finetune import run
from qatool.errors import EnvironmentUnfitError, UsageError
from qatool.options import FinetuneOptions


def weights(folder) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / "model.safetensors")


def test_the_weights_are_the_mean(options, tmp_path) -> None:
    others = [run(options(output=str(tmp_path / f"other-{seed}"), seed=seed)).folder for seed in (3, 4)]
    alone = weights(run(options(output=str(tmp_path / "alone"), epochs=2)).folder)
    given = (f"{others[0]}=0.25", f"{others[1]}=0.15")
    mean = run(options(output=str(tmp_path / "mean"), epochs=2, average=given)).folder
    first, second = map(weights, others)
    for name, found in weights(mean).items():
        torch.testing.assert_close(found, 0.6 * alone[name] + 0.25 * first[name] + 0.15 * second[name])
    assert "| `average` | other-3=0.25, other-4=0.15 |" in (mean / "README.md").read_text()


def test_shares_are_equal_where_none_is_given() -> None:
    one = FinetuneOptions(inputs=("a",), output="m", average=("x", "folder=y"))
    assert one.averages == {"x": 1 / 3, "folder=y": 1 / 3}


def test_the_figures_are_those_of_the_mean(options, labelled, tmp_path) -> None:
    only = tmp_path / "answerable.jsonl"
    only.write_text("".join(line + "\n" for line in labelled.read_text().splitlines() if '"text": []' not in line))
    chosen = {"inputs": (str(only),), "validation": str(only), "validations": 2}
    other = run(options(output=str(tmp_path / "other"), epochs=2, seed=3, **chosen)).folder
    result = run(options(output=str(tmp_path / "mean"), epochs=8, average=(f"{other}=0.6",), **chosen))
    found = figures_of(result.folder, only, tmp_path / "answers.parquet")
    assert (result.best.exact_match, result.best.f1) == pytest.approx((found["exact"], found["f1"]), abs=1e-6)
    with (result.folder / "metrics.csv").open() as stream:
        lines = [line for line in csv.DictReader(stream) if line["f1"]]
    # Two on the way, the last of which is that of the weights before, and one of the mean.
    assert [int(line["step"]) for line in lines] == [result.steps // 2, result.steps, result.steps]


def test_tied_weights_are_averaged_once(tiny_model) -> None:
    from transformers import BartConfig, BartForQuestionAnswering

    from qatool.training.averaging import OtherWeights

    config = BartConfig(
        vocab_size=30, d_model=8, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=8, decoder_ffn_dim=8, max_position_embeddings=20,
    )  # fmt: skip
    torch.manual_seed(1)
    model, other = BartForQuestionAnswering(config), BartForQuestionAnswering(config)
    expected = {name: 0.5 * (value + other.state_dict()[name]) for name, value in model.state_dict().items()}
    OtherWeights([(other.state_dict(), 0.5)]).average_into(model)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, expected[name])


def test_being_stopped_while_the_mean_is_validated_loses_nothing(options, labelled, tmp_path, monkeypatch) -> None:
    """SIGTERM then is Lightning's own no more than it is in training; DEV has several shards."""
    import os
    import signal

    from qatool.training.averaging import OtherWeights
    from qatool.training.validation import Validator

    dev = tmp_path / "dev.jsonl"
    dev.write_text(labelled.read_text() * 4)
    other = run(options(output=str(tmp_path / "other"), seed=3)).folder
    averaged: list[int] = []
    genuine, average = Validator.read, OtherWeights.average_into

    def note(self, model) -> None:
        averaged.append(1)
        average(self, model)

    def stop(self, shard) -> None:
        if averaged == [1]:
            averaged.append(2)
            os.kill(os.getpid(), signal.SIGTERM)
        genuine(self, shard)

    monkeypatch.setattr(OtherWeights, "average_into", note)
    monkeypatch.setattr(Validator, "read", stop)
    result = run(options(validation=str(dev), validations=1, average=(str(other),)))
    assert averaged == [1, 2]
    assert result.best is not None
    assert (result.folder / "model.safetensors").exists()


def test_what_is_to_be_averaged_is_not_there(options) -> None:
    with pytest.raises(EnvironmentUnfitError, match=r"--average nowhere: there is no such folder"):
        run(options(average=("nowhere=0.5",)))


def test_a_command_that_was_refused_can_be_mended(options, tmp_path, tiny_model) -> None:
    """What never began leaves no plan behind."""
    other = run(options(output=str(tmp_path / "other"))).folder
    bare = Path(shutil.copytree(other, tmp_path / "bare"))
    (bare / "model.safetensors").unlink()
    with pytest.raises(EnvironmentUnfitError, match="does not load"):
        run(options(average=(str(bare),)))
    assert not (tmp_path / "model.qatool").exists()
    assert run(options(average=(str(other),))).folder.is_dir()


def test_a_model_of_another_shape(options, tmp_path, tiny_model) -> None:
    other = Path(shutil.copytree(tiny_model, tmp_path / "other"))
    config = json.loads((other / "config.json").read_text())
    weights_ = {
        name: value.repeat(2, 1) if "position_embeddings" in name else value for name, value in weights(other).items()
    }
    from safetensors.torch import save_file

    save_file(weights_, other / "model.safetensors", metadata={"format": "pt"})
    (other / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 256}))
    with pytest.raises(UsageError, match=r"--average .*other: its weights have other shapes than --model's"):
        run(options(average=(str(other),)))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (("a=0.5", "b=0.5"), "parts must be above 0 and together below 1"),
        (("a=-1",), "parts must be above 0"),
        (("a=nan",), "parts must be above 0"),
        (("a=0.2", "a=0.1"), "names a model twice"),
        (("",), "--average: names no model"),
    ],
)
def test_parts_that_make_no_mean(given, problem) -> None:
    with pytest.raises(UsageError, match=problem):
        FinetuneOptions(inputs=("a",), output="m", average=given)


def weights_of_each_step(monkeypatch) -> list[dict[str, torch.Tensor]]:
    """Record the trained weights behind every step."""
    from qatool.training.callbacks import Checkpoints

    seen: list[dict[str, torch.Tensor]] = []
    genuine = Checkpoints.on_train_batch_end

    def note(self, trainer, module, *rest) -> None:
        seen.append({name: value.detach().clone() for name, value in module.model.named_parameters()})
        genuine(self, trainer, module, *rest)

    monkeypatch.setattr(Checkpoints, "on_train_batch_end", note)
    return seen


@pytest.mark.parametrize("validations", [None, 1, 2])
def test_the_moving_average_of_the_steps(options, labelled, monkeypatch, validations) -> None:
    """Step ``t`` of ``n`` counts ``d ** (n - t)``; a validation on the way changes nothing."""
    seen = weights_of_each_step(monkeypatch)
    chosen = {} if validations is None else {"validation": str(labelled), "validations": validations}
    # The first validation is as good as the second: its weights would be kept.
    if validations == 2:
        from qatool.training import validation

        told, genuine = iter([20.0, 80.0]), validation.Validator.figures
        monkeypatch.setattr(validation.Validator, "figures", lambda self: genuine(self)._replace(f1=next(told)))
    found = weights(run(options(epochs=2, moving_average=0.7, **chosen)).folder)
    parts = [0.7 ** (len(seen) - step) for step in range(1, len(seen) + 1)]
    assert len(seen) >= 10
    for name, value in found.items():
        expected = sum(part * one[name] for part, one in zip(parts, seen, strict=True)) / sum(parts)
        torch.testing.assert_close(value, expected)


def test_the_figures_are_those_of_the_moving_average(options, labelled, tmp_path) -> None:
    only = tmp_path / "answerable.jsonl"
    only.write_text("".join(line + "\n" for line in labelled.read_text().splitlines() if '"text": []' not in line))
    chosen = {"inputs": (str(only),), "validation": str(only), "validations": 1, "epochs": 8}
    result = run(options(moving_average=0.95, **chosen))
    found = figures_of(result.folder, only, tmp_path / "answers.parquet")
    assert (result.best.exact_match, result.best.f1) == pytest.approx((found["exact"], found["f1"]), abs=1e-6)
    assert "| `moving_average` | 0.95 |" in (result.folder / "README.md").read_text()


def test_the_loss_is_that_of_a_run_without(options, labelled, tmp_path) -> None:
    """Training goes on with the weights themselves, behind a validation, too."""
    chosen = {"validation": str(labelled), "validations": 2, "epochs": 2}
    runs = [
        run(options(output=str(tmp_path / str(decay)), moving_average=decay, **chosen)).folder
        for decay in (None, 0.9)
    ]
    losses = []
    for folder in runs:
        with (folder / "metrics.csv").open() as stream:
            losses.append([line["loss"] for line in csv.DictReader(stream) if line["loss"]])
    assert losses[0] == losses[1]


@pytest.mark.parametrize("decay", [0.0, 1.0, -1.0, float("nan")])
def test_a_decay_that_keeps_no_average(decay) -> None:
    with pytest.raises(UsageError, match=r"--moving-average .*: is out of range; give a number between 0 and 1"):
        FinetuneOptions(inputs=("a",), output="m", moving_average=decay)
