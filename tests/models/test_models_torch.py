"""The PyTorch backend: what it loads and refuses, and that padding changes nothing."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizerhelpers import questions, texts

from qatool.errors import EnvironmentUnfitError
from qatool.models.backend import BatchTooLargeError
from qatool.models.constant import ConstantBackend
from qatool.models.pytorch import torch_backend
from qatool.models.pytorch.memory import CUDA_BATCH_TOKENS
from qatool.models.pytorch.torch_backend import TorchBackend, resolve_device, resolve_precision
from qatool.windows.build import build_windows
from qatool.windows.cut import WindowSize
from qatool.windows.tokenizer import PairTokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from qatool.windows.assemble import WindowedExamples

CPU = torch.device("cpu")


def backend(model: Path, **options) -> TorchBackend:
    return TorchBackend(str(model), **{"device": "cpu", "precision": "fp32", "tokenizer_limit": 128} | options)


@pytest.fixture
def model(tmp_path, tiny_model) -> Path:
    return shutil.copytree(tiny_model, tmp_path / "model")


@pytest.fixture(scope="module")
def examples(tiny_model) -> WindowedExamples:
    held = [text[: 30 + 40 * row] for row, text in enumerate(texts()[8:20])]
    size = WindowSize(max_length=100, stride=20, question_budget=30)
    tokenizer = PairTokenizer.load(str(tiny_model))
    return build_windows(list(questions()[: len(held)]), held, tokenizer=tokenizer, size=size)


def refusal(call) -> str:
    with pytest.raises(EnvironmentUnfitError) as caught:
        call()
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_padding_changes_nothing(tiny_model, examples) -> None:
    one = backend(tiny_model)
    chosen = np.arange(len(examples.windows))
    assert len(set(examples.lengths.tolist())) > 3
    together = one.logits(examples.assemble(chosen))
    for row in chosen:
        length = int(examples.lengths[row])
        for mixed, alone in zip(together, one.logits(examples.assemble(chosen[row : row + 1])), strict=True):
            torch.testing.assert_close(mixed[row, :length], alone[0], atol=1e-5, rtol=0)


def test_logits_are_the_models_own(tiny_model, examples) -> None:
    from transformers import AutoModelForQuestionAnswering

    batch = examples.assemble(np.array([0]))
    reference = AutoModelForQuestionAnswering.from_pretrained(tiny_model, attn_implementation="eager").eval()
    with torch.no_grad():
        expected = reference(
            input_ids=torch.from_numpy(batch.input_ids).long(),
            token_type_ids=torch.from_numpy(batch.token_type_ids).long(),
        )
    start, end = backend(tiny_model).logits(batch)
    torch.testing.assert_close(start, expected.start_logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(end, expected.end_logits, atol=1e-5, rtol=0)


def test_it_says_what_it_is(tiny_model) -> None:
    one = backend(tiny_model, precision="auto", tokenizer_limit=10**30)
    assert (one.name, one.device, one.precision, one.max_length) == ("torch", "cpu", "fp32", 128)
    assert one.batch_tokens == torch_backend.CPU_BATCH_TOKENS
    assert backend(tiny_model, tokenizer_limit=64).max_length == 64


def test_half_precision_weights_are_run_in_single(model, examples) -> None:
    weights = model / "model.safetensors"
    halved = {name: tensor.half() for name, tensor in load_file(weights).items()}
    save_file(halved, weights, metadata={"format": "pt"})
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "dtype": "float16"}))
    start, _ = backend(model).logits(examples.assemble(np.arange(2)))
    assert start.dtype == torch.float32
    save_file({name: tensor.float() for name, tensor in halved.items()}, weights, metadata={"format": "pt"})
    (model / "config.json").write_text(json.dumps({**config, "dtype": "float32"}))
    torch.testing.assert_close(start, backend(model).logits(examples.assemble(np.arange(2)))[0], atol=0, rtol=0)


def test_bf16_on_a_cpu(tiny_model, examples) -> None:
    start, _ = backend(tiny_model, precision="bf16").logits(examples.assemble(np.arange(2)))
    assert start.dtype == torch.bfloat16


def test_a_model_without_a_head_is_refused(model) -> None:
    weights = model / "model.safetensors"
    headless = {name: tensor for name, tensor in load_file(weights).items() if "qa_outputs" not in name}
    save_file(headless, weights, metadata={"format": "pt"})
    assert refusal(lambda: backend(model)) == (
        f"{model}: has no weights for qa_outputs.bias, qa_outputs.weight; it is not a question-answering model: "
        "fine-tune it first"
    )


def test_pickles_only_when_allowed(model, tiny_model, examples) -> None:
    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()
    message = refusal(lambda: backend(model))
    assert message.startswith(f"{model}: the model does not load (")
    batch = examples.assemble(np.arange(2))
    torch.testing.assert_close(
        backend(model, allow_pickle=True).logits(batch), backend(tiny_model).logits(batch), atol=0, rtol=0
    )


@pytest.mark.parametrize(
    ("broken", "content"), [("config.json", b"{"), ("model.safetensors", b"{"), ("model.safetensors", None)]
)
def test_models_that_do_not_load(model, broken, content) -> None:
    if content is None:
        (model / broken).unlink()
    else:
        (model / broken).write_bytes(content)
    message = refusal(lambda: backend(model))
    assert message.startswith(f"{model}: the model does not load (")
    assert message.endswith("); name a folder with config.json and model.safetensors, or a hub id")


def test_a_folder_without_a_configuration_is_no_model(model) -> None:
    (model / "config.json").unlink()
    assert refusal(lambda: backend(model)).startswith(f"{model}: holds no config.json, so it is no model; name a ")


def test_devices(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == resolve_device("cpu") == resolve_device("cpu:0") == CPU
    for name in ("gpu", "", "mps", "cuda:x", "meta"):
        assert refusal(lambda name=name: resolve_device(name)) == (
            f"--device {name}: no such device; give auto, cpu, cuda or cuda:N"
        )
    for name in ("cuda", "cuda:0", "cuda:3"):
        assert refusal(lambda name=name: resolve_device(name)) == (
            f"--device {name}: this machine has no CUDA cards; use --device cpu"
        )


def test_devices_of_a_machine_with_cards(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert resolve_device("auto") == resolve_device("cuda") == torch.device("cuda", 0)
    assert refusal(lambda: resolve_device("cuda:1")) == (
        "--device cuda:1: this machine has 1 CUDA card; use --device cpu"
    )
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda", 1)
    assert "has 2 CUDA cards;" in refusal(lambda: resolve_device("cuda:2"))


def test_precisions(monkeypatch) -> None:
    card = torch.device("cuda", 0)
    assert [resolve_precision(p, CPU) for p in ("auto", "fp32", "bf16")] == ["fp32", "fp32", "bf16"]
    assert refusal(lambda: resolve_precision("fp16", CPU)) == (
        "--precision fp16: half precision is slow and inexact on a CPU; use bf16 or fp32"
    )
    assert resolve_precision("fp16", card) == "fp16"
    for capability, expected in (((9, 0), "bf16"), ((8, 0), "bf16"), ((7, 5), "fp16")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", {card: capability}.__getitem__)
        assert resolve_precision("auto", card) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), BatchTooLargeError),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), BatchTooLargeError),
        (RuntimeError("shape mismatch"), RuntimeError),
    ],
)
def test_out_of_memory(tiny_model, examples, monkeypatch, error, expected) -> None:
    one = backend(tiny_model)

    def fail(**inputs):
        raise error

    monkeypatch.setattr(one, "_model", fail)
    with pytest.raises(expected):
        one.logits(examples.assemble(np.arange(1)))


def test_constant_backend(examples) -> None:
    batch = examples.assemble(np.arange(3))
    for logits in ConstantBackend(max_length=99).logits(batch):
        assert logits.shape == batch.input_ids.shape
        assert not logits.any()


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 0.05), ("fp16", 0.01)])
def test_a_card_gives_the_cpus_logits(tiny_model, examples, precision, tolerance) -> None:
    card = backend(tiny_model, device="cuda", precision=precision)
    assert card.device == "cuda:0"
    assert card.batch_tokens <= CUDA_BATCH_TOKENS
    batch = examples.assemble(np.arange(len(examples.windows)))
    filled = torch.arange(batch.input_ids.shape[1]) < torch.from_numpy(batch.lengths)[:, None]
    for ours, theirs in zip(card.logits(batch), backend(tiny_model).logits(batch), strict=True):
        torch.testing.assert_close(ours.float().cpu()[filled], theirs[filled], atol=tolerance, rtol=0)
