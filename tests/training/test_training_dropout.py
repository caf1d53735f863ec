"""Dropout on a CPU: the share that goes, what is left, and the gradient."""

from __future__ import annotations

import pytest
import torch
from torch.nn import Dropout, functional
from traininghelpers import RECIPE, batch_of, tiny_bert

from qatool.training import dropout
from qatool.training.dropout import CheapDropout, rereads
from qatool.training.module import QuestionAnsweringModule


def of_ones(share: float, *, seed: int = 1, shape: tuple[int, ...] = (37, 41, 43), **kwargs: bool) -> torch.Tensor:
    torch.manual_seed(seed)
    with CheapDropout():
        return functional.dropout(torch.ones(shape), share, **kwargs)


@pytest.mark.parametrize("share", [2**-16, 0.01, 0.1, 0.5, 0.9])
def test_a_share_goes_and_the_rest_makes_up_for_it(share) -> None:
    left = of_ones(share)
    gone = (left == 0).float().mean().item()
    assert gone == pytest.approx(share, abs=4 * (share * (1 - share) / left.numel()) ** 0.5 + 2**-17)
    assert left[left != 0].unique().tolist() == [pytest.approx(1 / (1 - share), rel=1e-4)]


def test_all_places_are_alike() -> None:
    """Four elements share one number: none of them goes more often, nor does one with another."""
    torch.manual_seed(3)
    with CheapDropout():
        gone = (functional.dropout(torch.ones(100_000, 4), 0.3) == 0).float()
    assert gone.mean(0).tolist() == pytest.approx([0.3] * 4, abs=0.006)
    together = gone.T @ gone / len(gone)
    assert together[~torch.eye(4, dtype=torch.bool)].tolist() == pytest.approx([0.09] * 12, abs=0.004)


def test_a_seed_gives_the_same() -> None:
    assert torch.equal(of_ones(0.1), of_ones(0.1))
    assert not torch.equal(of_ones(0.1), of_ones(0.1, seed=2))


def test_the_gradient_goes_where_the_values_went() -> None:
    values = torch.randn(5, 7, dtype=torch.bfloat16, requires_grad=True)
    with CheapDropout():
        left = Dropout(0.4)(values)
    left.backward(torch.ones_like(left))
    assert left.dtype == torch.bfloat16
    assert torch.equal(left != 0, values.grad != 0)
    assert values.grad[left != 0].tolist() == pytest.approx([1 / 0.6] * int((left != 0).sum()), rel=2**-8)
    assert torch.allclose(left, values * values.grad, rtol=2**-7)


@pytest.mark.parametrize(
    ("share", "kwargs", "left"),
    [(0.0, {}, 1.0), (1.0, {}, 0.0), (0.1, {"training": False}, 1.0), (2**-18, {}, 1.0)],
)
def test_what_torch_does_itself(share, kwargs, left) -> None:
    assert torch.allclose(of_ones(share, **kwargs), torch.full((37, 41, 43), left))


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 5)])
def test_few_values(shape) -> None:
    assert of_ones(0.5, shape=shape).shape == shape


def test_training_drops_so(monkeypatch) -> None:
    """In a layer of BERT: embeddings, the shares of attention, and what either half of the layer puts out."""
    asked = []
    monkeypatch.setattr(dropout, "dropped", lambda values, share: asked.append((values.ndim, share)) or values)
    model = tiny_bert()
    model.set_attn_implementation("eager")  # as finetune has it on a CPU
    module = QuestionAnsweringModule(model, RECIPE, None).train()
    module._loss(batch_of([[(1, 3)], [(2, 2)]]))
    assert sorted(asked) == [(3, 0.1), (3, 0.1), (3, 0.1), (4, 0.1)]


def test_layers_that_are_read_again_drop_the_same() -> None:
    """With gradient checkpointing torch reads a layer again on the way back, and checks that it is the same."""
    model = tiny_bert()
    # Earlier transformers call it by the one name, later ones by the other.
    begin = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    begin({"use_reentrant": False})
    assert rereads(model)
    assert not rereads(tiny_bert())
    module = QuestionAnsweringModule(model, RECIPE, None).train()
    module._loss(batch_of([[(1, 3)], [(2, 2)]])).backward()
    assert model.get_input_embeddings().weight.grad is not None
