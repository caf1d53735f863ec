"""Packed batches: the same logits as padded ones, and ways that are only taken where they give those."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from tokenizerhelpers import questions, texts
from transformers import (
    AutoModelForQuestionAnswering,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    RobertaConfig,
    XLMRobertaConfig,
)

from qatool.errors import EnvironmentUnfitError
from qatool.models.backend import BatchTooLargeError
from qatool.models.pytorch import ways
from qatool.models.pytorch.memory import CUDA_BATCH_TOKENS, card_batch_tokens, telling_too_large, unless_full
from qatool.models.pytorch.packed import packed
from qatool.models.pytorch.torch_backend import ModelInMemory
from qatool.models.pytorch.ways import PackedWay, PaddedWay, compiled, distance, fastest_way, probe
from qatool.windows.build import build_windows
from qatool.windows.cut import WindowSize
from qatool.windows.tokenizer import PairTokenizer

if TYPE_CHECKING:
    from qatool.windows.assemble import WindowedExamples

CPU = torch.device("cpu")
SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 70,
}
DISTILBERT = {
    "vocab_size": 97,
    "dim": 32,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 64,
    "max_position_embeddings": 70,
}


def model_of(config: Any) -> Any:
    torch.manual_seed(3)
    # A model keeps its attention in its configuration.
    return AutoModelForQuestionAnswering.from_config(copy.deepcopy(config), attn_implementation="sdpa").eval()


def way_of(model: Any, *, may_pack: bool = True) -> Any:
    return fastest_way(model, vocabulary=97, pad_token_id=model.config.pad_token_id, may_pack=may_pack)


@pytest.fixture(scope="module")
def examples(tiny_model) -> WindowedExamples:
    held = [text[: 30 + 40 * row] for row, text in enumerate(texts()[8:20])]
    size = WindowSize(max_length=100, stride=20, question_budget=30)
    tokenizer = PairTokenizer.load(str(tiny_model))
    return build_windows(list(questions()[: len(held)]), held, tokenizer=tokenizer, size=size)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (BertConfig(**SIZES), PackedWay(0)),
        (ElectraConfig(**SIZES), PackedWay(0)),
        (DistilBertConfig(**DISTILBERT), PaddedWay(ready_mask=True)),
        (RobertaConfig(**SIZES, pad_token_id=1), PackedWay(2)),
        (XLMRobertaConfig(**SIZES, pad_token_id=1), PackedWay(2)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_way_of_a_model(config, expected) -> None:
    model = model_of(config)
    way = way_of(model)
    if isinstance(config, DistilBertConfig):
        assert way in {expected, PackedWay(0)}  # takes positions in some releases of transformers
    else:
        assert way == expected
    batch = probe(97, config.pad_token_id, device=CPU)
    plain = model_of(config)
    with torch.inference_mode():
        for ours, theirs in zip(way(model, batch), PaddedWay(ready_mask=False)(plain, batch), strict=True):
            torch.testing.assert_close(ours[batch.filled], theirs[batch.filled], atol=1e-5, rtol=0)


def test_without_packing_the_mask_is_made_here() -> None:
    assert way_of(model_of(BertConfig(**SIZES)), may_pack=False) == PaddedWay(ready_mask=True)


def test_a_model_that_mixes_windows_is_padded() -> None:
    """One whose attention looks across windows when they are packed."""
    model = model_of(BertConfig(**SIZES))
    body = model.bert.embeddings.forward

    def mixing(*args: Any, **inputs: Any) -> Any:
        found = body(*args, **inputs)
        return found + found.mean(dim=1, keepdim=True)

    model.bert.embeddings.forward = mixing
    before = model.config._attn_implementation
    # What padding adds to the mean is no better: only the plain way is left.
    assert way_of(model) == PaddedWay(ready_mask=True)
    assert model.config._attn_implementation == before


def test_eager_attention_gets_the_mask_of_transformers() -> None:
    torch.manual_seed(3)
    model = AutoModelForQuestionAnswering.from_config(BertConfig(**SIZES), attn_implementation="eager").eval()
    assert way_of(model, may_pack=False) == PaddedWay(ready_mask=False)


def test_distance_is_of_what_tells_tokens_apart() -> None:
    logits = torch.randn(2, 50, generator=torch.Generator().manual_seed(1))
    assert distance(logits + 0.01, logits) == pytest.approx(0.01, rel=0.2)
    assert distance(logits + 0.2 * logits.flip(1), logits) == pytest.approx(0.2, rel=0.2)
    # An offset common to all tokens must not hide it.
    assert distance(1_000 + logits.flip(1), 1_000 + logits) > 1
    for spoilt in (torch.nan, torch.inf):
        assert distance(torch.full_like(logits, spoilt), logits) == torch.inf
        assert distance(logits, torch.full_like(logits, spoilt)) == torch.inf


def test_of_positions_that_come_near_the_nearest_are_taken(monkeypatch) -> None:
    monkeypatch.setattr(ways, "_TOLERANCE", 10.0)
    assert way_of(model_of(RobertaConfig(**SIZES, pad_token_id=1))) == PackedWay(2)
    assert way_of(model_of(BertConfig(**SIZES, pad_token_id=1))) == PackedWay(0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_packed_batches_give_the_models_logits(tiny_model, examples, precision) -> None:
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]

    def backend(**more: Any) -> ModelInMemory:
        model = AutoModelForQuestionAnswering.from_pretrained(tiny_model, dtype=kind, attn_implementation="sdpa")
        return ModelInMemory(model.eval(), device=CPU, precision=precision, max_length=128, **more)

    one = backend(puts_together=True)
    assert one.packs == (precision == "bf16")
    batch = examples.assemble(np.arange(len(examples.windows)))
    filled = torch.arange(batch.input_ids.shape[1]) < torch.from_numpy(batch.lengths)[:, None]
    found = one.packed_logits(packed(batch, CPU, pad_token_id=0))
    for ours, theirs in zip(found, backend().logits(batch), strict=True):
        assert ours.shape == theirs.shape
        tolerance = 1e-5 if precision == "fp32" else 0.05
        torch.testing.assert_close(ours[filled], theirs[filled], atol=tolerance, rtol=0)


def test_compiling_gives_the_same_and_failing_costs_nothing(caplog) -> None:
    model = model_of(BertConfig(**SIZES))
    way, batch = way_of(model), probe(97, 0, device=CPU)
    with torch.inference_mode():
        expected = way(model, batch)
        for ours, theirs in zip(way(compiled(model, backend="eager"), batch), expected, strict=True):
            torch.testing.assert_close(ours, theirs)

        def broken(*_: Any) -> Any:
            raise RuntimeError("no compiler here")

        faster = compiled(model, backend=broken)
        for _ in range(2):
            for ours, theirs in zip(way(faster, batch), expected, strict=True):
                torch.testing.assert_close(ours, theirs)
    assert faster._faster is None
    assert sum("torch.compile does not take the model" in line for line in caplog.messages) <= 1


def test_a_python_without_compiler_costs_nothing(monkeypatch) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        raise RuntimeError("torch.compile is not supported on Python 3.99")

    model = model_of(BertConfig(**SIZES))
    monkeypatch.setattr(torch, "compile", refused)
    faster = compiled(model)
    assert faster._faster is None
    way, batch = way_of(model), probe(97, 0, device=CPU)
    with torch.inference_mode():
        for ours, theirs in zip(way(faster, batch), way(model, batch), strict=True):
            assert torch.equal(ours, theirs)


def test_out_of_memory_while_compiled_is_passed_on() -> None:
    model = model_of(BertConfig(**SIZES))

    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    faster = compiled(model, backend="eager")
    faster._faster = full
    with pytest.raises(torch.OutOfMemoryError):
        way_of(model)(faster, probe(97, 0, device=CPU))
    assert faster._faster is full


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), BatchTooLargeError),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), BatchTooLargeError),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), BatchTooLargeError),
        (RuntimeError("CUDA error: out of memory\nCompile with"), BatchTooLargeError),
        (RuntimeError("shape mismatch"), RuntimeError),
        (ValueError("can't allocate memory"), ValueError),
    ],
)
def test_one_kind_of_out_of_memory(error, expected) -> None:
    with pytest.raises(expected), telling_too_large():
        raise error


def test_what_must_fit_and_does_not_is_told_in_a_line() -> None:
    with pytest.raises(EnvironmentUnfitError) as caught, unless_full("the model", torch.device("cuda", 1)):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.")
    assert str(caught.value) == (
        "cuda:1 has no memory for the model (CUDA out of memory); end what else uses it, or take another --device"
    )
    with pytest.raises(ValueError, match="else"), unless_full("the model", CPU):
        raise ValueError("something else")


def test_tokens_a_batch_follow_the_memory() -> None:
    config = RobertaConfig(hidden_size=768, intermediate_size=3_072, attn_implementation="sdpa")
    sizes = [card_batch_tokens(gib << 30, config, itemsize=2) for gib in (140, 16, 4, 2, 1)]
    assert sizes[0] == sizes[1] == CUDA_BATCH_TOKENS
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < CUDA_BATCH_TOKENS
    assert all(size.bit_count() == 1 for size in sizes)
    assert card_batch_tokens(0, config, itemsize=2) == 2_048
    assert card_batch_tokens(1 << 30, config, itemsize=4) < sizes[-1]
    large = RobertaConfig(hidden_size=4_096, intermediate_size=16_384, attn_implementation="sdpa")
    assert card_batch_tokens(4 << 30, large, itemsize=2) < sizes[2]
    # No tensor has more numbers than every kernel can count.
    assert card_batch_tokens(10_000 << 30, large, itemsize=2) * 16_384 < 1 << 31
    eager = RobertaConfig(
        hidden_size=768, intermediate_size=3_072, num_attention_heads=16, attn_implementation="eager"
    )
    assert card_batch_tokens(10_000 << 30, eager, itemsize=2) * 16 * 512 < 1 << 31
    assert card_batch_tokens(1 << 30, DistilBertConfig(attn_implementation="sdpa"), itemsize=2) == sizes[-1]
