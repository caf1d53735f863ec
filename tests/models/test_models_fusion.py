"""Fused modules: found by their parts, sharing weights, taken only where they give the model's own logits."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForQuestionAnswering,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    RobertaConfig,
)

from qatool.models.pytorch import fusion
from qatool.models.pytorch.fusion import Fusion, activated_product, is_fused, normalised_sum
from qatool.models.pytorch.ways import fastest_way

LAYERS = 2
SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 70,
    "initializer_range": 0.2,
}
DISTILBERT = {
    "vocab_size": 97,
    "dim": 32,
    "n_layers": LAYERS,
    "n_heads": 4,
    "hidden_dim": 64,
    "max_position_embeddings": 70,
}


def model_of(config: Any) -> Any:
    torch.manual_seed(3)
    model = AutoModelForQuestionAnswering.from_config(copy.deepcopy(config), attn_implementation="eager").eval()
    for value in model.parameters():  # norms and biases are nothing but ones and zeros to begin with
        value.data += 0.05 * torch.randn_like(value)
    return model


def logits_of(model: Any) -> torch.Tensor:
    torch.manual_seed(4)
    with torch.inference_mode():
        output = model(input_ids=torch.randint(5, 97, (3, 20)))
    return torch.stack([output.start_logits, output.end_logits])


@pytest.mark.parametrize(
    ("config", "swaps"),
    [
        # For each layer a product and its activation, and the sums behind attention and feed-forward.
        (BertConfig(**SIZES), 4),
        (BertConfig(**SIZES, hidden_act="gelu_new"), 4),
        (BertConfig(**SIZES, hidden_act="relu"), 2),
        (RobertaConfig(**SIZES, pad_token_id=1), 4),
        (ElectraConfig(**SIZES, embedding_size=16), 4),
        (DebertaV2Config(**SIZES), 4),
        (DistilBertConfig(**DISTILBERT), 2),
    ],
    ids=lambda value: getattr(value, "model_type", value),
)
def test_a_fused_model_gives_the_same_and_is_put_back(config, swaps) -> None:
    model = model_of(config)
    modules, expected = dict(model.named_modules()), logits_of(model)
    fused = Fusion.of(model)
    assert len(fused) == swaps * LAYERS
    assert dict(model.named_modules()) == modules, "looking changes nothing"
    fused.put(in_place=True)
    # The approximation of GELU is within 0.0005 of it.
    torch.testing.assert_close(logits_of(model), expected, atol=0.02, rtol=0)
    assert sum(isinstance(module, fusion._ActivatedLinear) for module in model.modules()) == (
        0 if swaps == 2 and config.model_type == "bert" else LAYERS
    )
    fused.put(in_place=False)
    assert dict(model.named_modules()) == modules
    assert torch.equal(logits_of(model), expected)


def test_what_is_built_otherwise_stays() -> None:
    class WithoutSum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense, self.LayerNorm = nn.Linear(4, 4), nn.LayerNorm(4)

        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return self.LayerNorm(self.dense(values))

    class Adapted(WithoutSum):
        def __init__(self) -> None:
            super().__init__()
            self.adapter = nn.Linear(4, 4)

        def forward(self, values: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
            return self.LayerNorm(self.adapter(self.dense(values)) + residual)

    class Biasless(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense, self.intermediate_act_fn = nn.Linear(4, 4, bias=False), nn.GELU()

    assert len(Fusion.of(nn.ModuleList([WithoutSum(), Adapted(), Biasless(), nn.Linear(4, 4)]))) == 0


def scaled(model: Any) -> None:
    plain = model.bert.encoder.layer[1].output.dense.forward
    model.bert.encoder.layer[1].output.dense.forward = lambda values: 1.02 * plain(values)


def gated(model: Any) -> None:
    model.bert.encoder.layer[1].output.gate = nn.Parameter(torch.ones(()))


def watched(model: Any) -> None:
    model.bert.encoder.layer[1].output.register_forward_hook(lambda *_: None)


def squared(model: Any) -> None:
    class GELU(nn.Module):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return values * values

    model.bert.encoder.layer[1].intermediate.intermediate_act_fn = GELU()


@pytest.mark.parametrize("change", [scaled, gated, watched, squared])
def test_a_module_that_does_more_stays(change) -> None:
    model = model_of(BertConfig(**SIZES))
    change(model)
    modules, expected = dict(model.named_modules()), logits_of(model)
    fused = Fusion.of(model)
    # The sum, or the product with its activation, which are two modules.
    assert len(fused) == 4 * LAYERS - (2 if change is squared else 1)
    fused.put(in_place=True)
    torch.testing.assert_close(logits_of(model), expected, atol=0.02, rtol=0)
    fused.put(in_place=False)
    assert dict(model.named_modules()) == modules


def test_what_only_calls_itself_an_activation_stays() -> None:
    class GELU:
        def __call__(self, values: torch.Tensor) -> torch.Tensor:
            return values

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense, self.intermediate_act_fn = nn.Linear(4, 4), GELU()

    assert len(Fusion.of(Odd())) == 0


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("is_right", [True, False])
def test_fused_modules_are_taken_where_the_logits_are_the_same(monkeypatch, is_right, attention) -> None:
    model = model_of(BertConfig(**SIZES))
    model.set_attn_implementation(attention)
    usual = {"vocabulary": 97, "pad_token_id": 0, "may_pack": attention == "sdpa"}
    expected = fastest_way(model, **usual)
    assert not is_fused(model)
    model.set_attn_implementation(attention)
    if not is_right:
        monkeypatch.setattr(fusion, "_agree", lambda *_, **__: True)
        monkeypatch.setattr(fusion, "normalised_sum", lambda values, residual, *_: values - residual)
    assert fastest_way(model, **usual, may_fuse=True) == expected
    assert is_fused(model) == is_right


def test_without_triton_activations_are_fused_and_sums_are_not(monkeypatch) -> None:
    def missing(*_: Any) -> torch.Tensor:
        raise ImportError("No module named 'triton'")

    model = model_of(BertConfig(**SIZES))
    monkeypatch.setattr(fusion, "normalised_sum", missing)
    fastest_way(model, vocabulary=97, pad_token_id=0, may_pack=True, may_fuse=True)
    assert not any(isinstance(module, fusion._NormalisedSum) for module in model.modules())
    assert sum(isinstance(module, fusion._ActivatedLinear) for module in model.modules()) == LAYERS


def test_tensors_of_other_shapes_are_no_sum() -> None:
    values, weight = torch.randn(2, 3, 8), torch.ones(8)
    for residual, scale in ((torch.randn(3, 8), weight), (values, torch.ones(4))):
        with pytest.raises(ValueError, match="shapes of another sum"):
            normalised_sum(values, residual, scale, weight, 1e-5)


@pytest.mark.parametrize(
    ("operation", "shapes"),
    [(activated_product, [(1, 7, 16), (24, 16), (24,)]), (normalised_sum, [(1, 7, 16), (1, 7, 16), (16,), (16,)])],
    ids=["product", "sum"],
)
def test_a_compiler_is_told_right_of_what_it_cannot_see(operation, shapes) -> None:
    values = [torch.randn(shape) for shape in shapes]
    torch.library.opcheck(operation, (*values, 1e-5) if operation is normalised_sum else tuple(values))
