"""Fuse modules so that a card needs fewer kernels: activations within products, and sums with their norms.

On a card, half of an encoder's time goes to matrix products; sums, norms and activations take a third, nearly all of
it for reading and writing numbers between kernels. Modules are recognised by their parts, so that this works for
BERT, RoBERTa, ELECTRA, DeBERTa and models built like them, and each fused module is compared with the one it
replaces. It is up to the caller to compare the logits of the whole model, as
:func:`~qatool.models.pytorch.ways.fastest_way` does.

The activation within a product is the tanh approximation of GELU (Hendrycks and Gimpel 2016). Its error is at most
0.0005, which for activations of the order of 1 is less than the rounding error of half precision.
"""

from __future__ import annotations

import inspect
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional

from qatool.errors import reason_of
from qatool.logs import log_event

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_ACTIVATED = (("dense", "intermediate_act_fn"), ("lin1", "activation"))
"""Pairs of names: a linear layer, and the activation that its module applies to the output of that layer."""
_GELU = frozenset(
    {"GELU", "GELUActivation", "GELUTanh", "PytorchGELUTanh", "NewGELUActivation", "FastGELUActivation"}
)
_PROBED = 64
"""Rows of random numbers with which a fused module is compared with the usual one."""
_APPROXIMATION = 3e-4
"""Root mean square of the difference between GELU and its tanh approximation."""


@dataclass(frozen=True, kw_only=True)
class _Swap:
    """A fused module that can take the place of a usual one."""

    parent: nn.Module
    name: str
    usual: nn.Module
    fused: nn.Module


class Fusion:
    """Puts fused modules into a model, or the usual ones back; both share their weights.

    :param swaps: the pairs of modules, with their places in the model
    """

    def __init__(self, swaps: Sequence[_Swap]) -> None:
        self._swaps = swaps

    @classmethod
    def of(cls, model: nn.Module) -> Self:
        """Find the modules that can be fused; the model is not changed yet.

        :param model: the model, on its device, in half precision and in evaluation mode
        """
        with torch.inference_mode():
            return cls([swap for module in model.modules() for swap in (*_activations(module), *_sums(module))])

    def __len__(self) -> int:
        return len(self._swaps)

    def put(self, *, in_place: bool) -> None:
        """Put the fused modules in place, or the usual ones.

        :param in_place: whether to put the fused ones
        """
        for swap in self._swaps:
            setattr(swap.parent, swap.name, swap.fused if in_place else swap.usual)


class _ActivatedLinear(nn.Module):
    """A linear layer followed by GELU."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, values: Tensor) -> Tensor:
        activated: Tensor = activated_product(values, self.linear.weight, self.linear.bias)
        return activated


class _NormalisedSum(nn.Module):
    """A linear layer followed by the addition of a residual and a layer norm."""

    def __init__(self, linear: nn.Linear, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.linear, self.norm = linear, norm

    def forward(self, values: Tensor, residual: Tensor) -> Tensor:
        norm = self.norm
        normalised: Tensor = normalised_sum(self.linear(values), residual, norm.weight, norm.bias, norm.eps)
        return normalised


def is_fused(model: nn.Module) -> bool:
    """Return whether any modules of a model are replaced by fused ones."""
    return any(isinstance(module, _ActivatedLinear | _NormalisedSum) for module in model.modules())


def _activations(module: nn.Module) -> Iterator[_Swap]:
    for product, activation in _ACTIVATED:
        linear, applied = (getattr(module, name, None) for name in (product, activation))
        if not isinstance(applied, nn.Module) or type(applied).__name__ not in _GELU:
            continue
        if _is_plain(linear) and not _is_watched(linear, applied):
            fused = _ActivatedLinear(linear)
            if _agree(nn.Sequential(linear, applied), fused, linear):
                yield _Swap(parent=module, name=product, usual=linear, fused=fused)
                yield _Swap(parent=module, name=activation, usual=applied, fused=nn.Identity())


def _sums(module: nn.Module) -> Iterator[_Swap]:
    for name, child in module.named_children():
        linear, norm = (getattr(child, part, None) for part in ("dense", "LayerNorm"))
        if not _is_plain(linear) or type(norm) is not nn.LayerNorm or norm.bias is None:
            continue
        parts = {part for part, _ in child.named_children()}
        owns = any(True for _ in child.parameters(recurse=False)) or any(True for _ in child.buffers(recurse=False))
        if owns or not parts <= {"dense", "LayerNorm", "dropout"} or _is_watched(child, *child.children()):
            continue
        fused = _NormalisedSum(linear, norm)
        if len(inspect.signature(child.forward).parameters) == 2 and _agree(child, fused, linear, residual=True):
            yield _Swap(parent=module, name=name, usual=child, fused=fused)


def _is_plain(linear: object) -> TypeGuard[nn.Linear]:
    """Return whether a module is a plain linear layer with a bias."""
    return type(linear) is nn.Linear and linear.bias is not None


def _is_watched(*modules: nn.Module) -> bool:
    """Return whether any of the modules has hooks or a ``forward`` of its own, which fusing would bypass."""
    return any(one._forward_hooks or one._forward_pre_hooks or "forward" in vars(one) for one in modules)


def _agree(usual: nn.Module, fused: nn.Module, linear: nn.Linear, *, residual: bool = False) -> bool:
    """Return whether two modules give the same outputs for random numbers, apart from rounding.

    :param linear: the linear layer in both
    :param residual: whether the modules also take a residual
    """
    weight = linear.weight
    dice = torch.Generator().manual_seed(0)
    sizes = [linear.in_features, *([linear.out_features] if residual else [])]
    try:
        given = [torch.randn(1, _PROBED, size, generator=dice).to(weight) for size in sizes]
        one, other = (module(*given).float() for module in (usual, fused))
        # Each of three roundings has an error of 0.3 of the spacing of numbers, as a root mean square.
        rounding = torch.finfo(weight.dtype).eps * one.norm()
        return bool((one - other).norm() <= rounding + _APPROXIMATION * one.numel() ** 0.5)
    except Exception as error:  # noqa: BLE001  (no Triton, no compiler for it, weights of another kind, …)
        log_event("a module is not fused", level=logging.DEBUG, module=type(usual).__name__, reason=reason_of(error))
        return False


@torch.library.custom_op("qatool::activated_product", mutates_args=())
def activated_product(values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return GELU of the output of a linear layer; on a card, both are computed in one kernel.

    :param values: ``(…, m)``: the inputs of the layer
    :param weight: ``(n, m)``
    :param bias: ``(n,)``
    :returns: ``(…, n)``
    """
    product = torch._addmm_activation(bias, values.flatten(0, -2), weight.t(), use_gelu=True)
    return product.view(*values.shape[:-1], -1)


@activated_product.register_fake
def _(values: Tensor, weight: Tensor, _bias: Tensor) -> Tensor:
    return values.new_empty(*values.shape[:-1], len(weight))


@torch.library.custom_op("qatool::normalised_sum", mutates_args=())
def normalised_sum(values: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    """Return the layer norm of ``values + residual``; on a card, both are computed in one kernel.

    :param values: ``(…, d)``, as is ``residual``
    :param weight: ``(d,)``, as is ``bias``
    :raises ImportError: this build of torch comes without Triton, and the tensors are on a card
    :raises ValueError: the shapes do not match
    """
    if residual.shape != values.shape or weight.shape != bias.shape or weight.shape != values.shape[-1:]:
        raise ValueError(f"shapes of another sum: {values.shape}, {residual.shape}, {weight.shape}, {bias.shape}")
    if not values.is_cuda:
        return functional.layer_norm(values + residual, weight.shape, weight, bias, epsilon)
    from qatool.models.pytorch import kernels

    return kernels.normalised_sum(values.contiguous(), residual.contiguous(), weight, bias, epsilon)


@normalised_sum.register_fake
def _(values: Tensor, _residual: Tensor, _weight: Tensor, _bias: Tensor, _epsilon: float) -> Tensor:
    return torch.empty_like(values)
