"""``qatool doctor``: what it tells of a machine and a model, and what it advises."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import BertConfig

from qatool import cli
from qatool.commands import doctor
from qatool.commands.sample import sample_corpus, sample_questions
from qatool.models.arithmetic import matmul_rate, window_flops


@pytest.fixture
def quick(monkeypatch) -> None:
    monkeypatch.setattr(doctor, "_SECONDS", 0.02)
    monkeypatch.setattr(doctor, "matmul_rate", lambda *_, **__: 1e9)


def told(capsys, *words: str) -> dict:
    assert cli.run(["doctor", "--json", *words]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_everything_is_measured(tiny_model, quick, capsys) -> None:
    found = told(capsys, "--model", str(tiny_model))
    assert found["versions"]["torch"] == torch.__version__
    assert found["model"]["backend"] == "openvino"
    assert found["model"]["max_length"] == 128
    ways = found["speed"]["ways"]
    assert (ways[0]["backend"], ways[0]["precision"]) == ("openvino", "fp32")
    assert {way["backend"] for way in ways} == {"openvino", "torch"}
    for way in ways:
        assert way["windows_per_second"] > 0
        assert way["share_of_matmul"] == pytest.approx(way["gigaflops"], rel=0.1, abs=0.06)
        assert set(way["stages_milliseconds_a_window"]) == {"tokenise", "model", "decode", "write"}


def test_on_the_screen(tiny_model, quick, capsys) -> None:
    assert cli.run(["doctor", "--model", str(tiny_model)]) == 0
    shown = capsys.readouterr().out
    assert "loaded offline in" in shown
    assert "openvino, fp32" in shown
    assert cli.run(["doctor", "--model", str(tiny_model), "--no-speed"]) == 0
    assert "openvino, fp32" not in capsys.readouterr().out


def test_a_model_that_does_not_load(tmp_path, capsys) -> None:
    assert cli.run(["doctor", "--model", str(tmp_path / "none")]) == 4
    shown = capsys.readouterr()
    assert "model does not load" in shown.out
    assert "torch " in shown.out
    assert shown.err.startswith("Error: ")


def test_a_device_that_is_none(capsys) -> None:
    assert cli.run(["doctor", "--device", "tpu"]) == 2
    assert "--device tpu: no such device" in capsys.readouterr().err


def test_advice(monkeypatch) -> None:
    ways = [
        {"backend": "torch", "precision": "fp32", "windows_per_second": 30.0},
        {"backend": "torch", "precision": "bf16", "windows_per_second": 60.0},
        {"backend": "openvino", "precision": "fp32", "error": "no"},
    ]
    machine = {"cores": 4, "threads": 1, "cuda": []}
    told = {
        "extras": dict.fromkeys(doctor._EXTRAS) | {"lightning": "2", "matplotlib": "3", "nncf": "2"},
        "devices": machine,
        "speed": {"ways": ways},
    }
    assert doctor._advice(told) == [
        "faster extraction on a CPU: pip install 'qatool[openvino]'",
        "1 of 4 cores are used: unset or raise OMP_NUM_THREADS, or give --workers",
        "2.0 times as fast: --backend torch --precision bf16 (scores differ in the third digit)",
    ]
    assert len(doctor._advice(told | {"speed": {"ways": ways[:1]}})) == 2
    assert len(doctor._advice(told | {"speed": {"ways": ways[2:]}})) == 2


def test_a_library_that_is_missing_is_told() -> None:
    assert doctor._versions(["click", "no_such_library"])["no_such_library"] is None


def test_operations_are_those_torch_counts() -> None:
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import BertForQuestionAnswering

    config = BertConfig(
        vocab_size=100, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=80,
        attn_implementation="eager",
    )  # fmt: skip
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        BertForQuestionAnswering(config).eval()(input_ids=torch.ones(1, 24, dtype=torch.long))
    head = 2 * 24 * 32 * 2
    assert window_flops(config, 24) == counter.get_total_flops() - head
    assert window_flops(object(), 24) is None


def test_the_rate_is_a_rate() -> None:
    assert matmul_rate(torch.device("cpu"), torch.float32, threads=2, seconds=0.05) > 1e8


def test_samples_are_distinct() -> None:
    assert len({example.context for example in sample_corpus(300)}) == 300
    assert len({(example.question, example.context) for example in sample_questions()}) == len(sample_questions())
