"""What a card has no room for: a gradient that is not finite, noticed without waiting, and too large a batch."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from traininghelpers import RECIPE, batch_of, tiny_bert

from qatool.errors import EnvironmentUnfitError
from qatool.training.fit import _telling
from qatool.training.module import NotFiniteError, QuestionAnsweringModule


@pytest.fixture
def module() -> QuestionAnsweringModule:
    return QuestionAnsweringModule(tiny_bert(), RECIPE, None)


def step(module: QuestionAnsweringModule, optimizer: torch.optim.Optimizer, value: float) -> None:
    """Do a step whose gradient is one value everywhere."""
    for parameter in module.parameters():
        parameter.grad = torch.full_like(parameter, value)
    norm = torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
    module._note_overflow(optimizer, norm)
    optimizer.step()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_stay_from_the_first_bad_step_on(module, bad) -> None:
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2, fused=True)
    before = [value.clone() for value in module.parameters()]
    step(module, optimizer, 0.5)
    good = [value.clone() for value in module.parameters()]
    assert not any(torch.equal(one, other) for one, other in zip(before, good, strict=True))
    module.check_finite()
    for value in (bad, 0.5):
        step(module, optimizer, value)
        assert all(torch.equal(one, other) for one, other in zip(good, module.parameters(), strict=True))
    with pytest.raises(NotFiniteError, match="step 1: the gradient is not finite"):
        module.check_finite()


@pytest.mark.parametrize("moment", ["on_train_end", "on_validation_epoch_start"])
def test_it_is_told_before_anything_is_kept(module, moment) -> None:
    module._first_overflow = torch.tensor(7)
    with pytest.raises(NotFiniteError, match="step 7"):
        getattr(module, moment)()
    with pytest.raises(NotFiniteError, match="step 7"):
        module.on_save_checkpoint({})


def test_a_ready_mask_gives_the_same_loss(module) -> None:
    module.eval()
    batch = batch_of(labels=[[(1, 3)], [(2, 2)]])
    plain = module._loss(batch)
    module._ready_mask = True
    torch.testing.assert_close(module._loss(batch), plain)
    batch.attention_mask[1, 2] = 0
    assert not torch.allclose(module._loss(batch), plain)


@pytest.mark.parametrize("scaler", [None, object()])
def test_gradients_that_are_scaled_are_scaled_back_before_they_are_clipped(module, scaler) -> None:
    """Lightning leaves it to a fused optimiser to do so, which is behind the clipping."""
    module._trainer = SimpleNamespace(precision_plugin=SimpleNamespace(scaler=scaler))
    assert module.configure_optimizers()["optimizer"].defaults["fused"] is (scaler is None)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("CUDA error: out of memory. Compile with TORCH_USE_CUDA_DSA"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
    ],
)
def test_too_little_memory_is_told_with_what_to_do(tmp_path, error) -> None:
    with pytest.raises(EnvironmentUnfitError, match="no memory for a batch") as caught, _telling(tmp_path):
        raise error
    assert "lower --batch-tokens" in str(caught.value)
    with pytest.raises(RuntimeError, match="else"), _telling(tmp_path):
        raise RuntimeError("else")
