"""Steps that also learn at embeddings moved against the model."""

from __future__ import annotations

import pytest
import torch
from traininghelpers import RECIPE, batch_of, tiny_bert
from transformers import (
    BartConfig,
    BartForQuestionAnswering,
    XLNetConfig,
    XLNetForQuestionAnsweringSimple,
)

from qatool.errors import EnvironmentUnfitError, UsageError
from qatool.training.adversarial import Adversary
from qatool.training.module import QuestionAnsweringModule
from qatool.training.teachers import Teachers

LABELS = [[(1, 3)], [(2, 2)]]


def module_of(adversarial: float, teachers: Teachers | None = None) -> QuestionAnsweringModule:
    """A module whose steps need no trainer: gradients are added as they come."""
    recipe = RECIPE.__class__(**{**RECIPE.__dict__, "adversarial": adversarial, "teacher_weight": 0.3})
    module = QuestionAnsweringModule(tiny_bert(), recipe, None, teachers)
    module.manual_backward = lambda loss: loss.backward()
    module.eval()
    return module


def gradients(module: QuestionAnsweringModule) -> dict[str, torch.Tensor]:
    return {name: value.grad for name, value in module.model.named_parameters()}


def test_each_window_moves_so_far_and_to_a_greater_loss() -> None:
    module = module_of(0.0)
    batch = batch_of(LABELS)
    adversary = Adversary(module.model, 0.25, windows=(2, 5))
    embedded = []
    handle = module.model.get_input_embeddings().register_forward_hook(lambda *told: embedded.append(told[-1]))
    with adversary.watching():
        loss = module._loss(batch)
    loss.backward()
    handle.remove()
    with adversary.moving():
        # A hook that comes later sees what the one before made of the embeddings.
        handle = module.model.get_input_embeddings().register_forward_hook(lambda *told: embedded.append(told[-1]))
        worse = module._loss(batch)
    handle.remove()
    moved = (embedded[1] - embedded[0]).flatten(1).norm(dim=1)
    assert moved.tolist() == pytest.approx([0.25, 0.25], rel=1e-4)
    assert worse > loss
    assert not module.model.get_input_embeddings()._forward_hooks
    # Padding has no part in the loss, so it stays.
    assert (embedded[1] - embedded[0])[1, 3:].abs().max() < 1e-6


def test_a_step_is_the_mean_of_both() -> None:
    batch = batch_of(LABELS)
    module = module_of(0.25)
    loss = module._backward(batch)
    both = gradients(module)

    apart = module_of(0.0)
    adversary = Adversary(apart.model, 0.25, windows=(2, 5))
    with adversary.watching():
        first = apart._loss(batch)
    first.backward()
    with adversary.moving():
        second = apart._loss(batch)
    second.backward()
    assert float(loss) == pytest.approx(float(first.detach()))
    for name, gradient in gradients(apart).items():
        assert torch.allclose(both[name], gradient / 2, atol=1e-7), name


def test_teachers_are_asked_once(monkeypatch) -> None:
    teachers = Teachers([tiny_bert(seed=2)])
    asked = []
    probabilities = teachers.probabilities
    monkeypatch.setattr(teachers, "probabilities", lambda batch: asked.append(1) or probabilities(batch))
    module_of(0.25, teachers)._backward(batch_of(LABELS))
    assert asked == [1]


def test_models_that_embed_otherwise() -> None:
    """BART's own layer is never read, and XLNet's windows are columns; frozen embeddings cannot be moved."""
    bart = BartForQuestionAnswering(
        BartConfig(
            vocab_size=20, d_model=8, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=8, decoder_ffn_dim=8, max_position_embeddings=16,
        )
    )  # fmt: skip
    xlnet = XLNetForQuestionAnsweringSimple(
        XLNetConfig(vocab_size=20, d_model=8, n_layer=1, n_head=2, d_inner=8, mem_len=None)
    )
    frozen = tiny_bert()
    frozen.get_input_embeddings().weight.requires_grad = False
    for model in (bart, xlnet, frozen):
        module = module_of(0.25)
        module.model = model.eval()
        with pytest.raises(
            EnvironmentUnfitError, match="--adversarial: the embeddings of this model cannot be moved"
        ):
            module._backward(batch_of(LABELS))


@pytest.mark.parametrize("distance", [-1.0, float("nan"), float("inf")])
def test_what_is_no_distance(options, distance) -> None:
    with pytest.raises(UsageError, match=r"--adversarial .*: is out of range; give a number from 0"):
        options(adversarial=distance)


def test_it_is_not_compiled(options) -> None:
    with pytest.raises(UsageError, match="--adversarial: cannot be compiled; drop --compile"):
        options(adversarial=0.5, compile=True)
