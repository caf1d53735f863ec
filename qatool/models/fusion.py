"""What a card does in fewer kernels than a model asks for: activations within products, sums with their norms.

Of an encoder's time on a card half is matrix products; sums, norms and activations take a third, and nearly all of
that is reading and writing numbers between kernels. Modules are known by their parts, so that this serves BERT,
RoBERTa, ELECTRA, DeBERTa and what else is built like them. Whether the model gives the same logits is found out by
whoever asks for it: see :func:`~qatool.models.ways.fastest_way`.

The product's activation is the tanh approximation of GELU (Hendrycks and Gimpel 2016): within half precision there is
no difference that can be told from rounding.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_ACTIVATED = (("dense", "intermediate_act_fn"), ("lin1", "activation"))
"""Names of a product, and of the activation that its module applies to what comes of it."""
_GELU = frozenset(
    {"GELU", "GELUActivation", "GELUTanh", "PytorchGELUTanh", "NewGELUActivation", "FastGELUActivation"}
)


@dataclass(frozen=True, kw_only=True)
class _Swap:
    """A module in place of another."""

    parent: nn.Module
    name: str
    usual: nn.Module
    fused: nn.Module


class Fusion:
    """Puts fused modules into a model, and the usual ones back; both share their weights.

    :param swaps: what to put where
    """

    def __init__(self, swaps: Sequence[_Swap]) -> None:
        self._swaps = swaps

    @classmethod
    def of(cls, model: nn.Module) -> Self:
        """Find what can be fused; nothing is changed yet."""
        return cls([swap for module in model.modules() for swap in (*_activations(module), *_sums(module))])

    def __len__(self) -> int:
        return len(self._swaps)

    def put(self, *, in_place: bool) -> None:
        """Put the fused modules in place, or the usual ones.

        :param in_place: the fused ones
        """
        for swap in self._swaps:
            setattr(swap.parent, swap.name, swap.fused if in_place else swap.usual)


class _ActivatedLinear(nn.Module):
    """A linear layer and GELU."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, values: Tensor) -> Tensor:
        activated: Tensor = activated_product(values, self.linear.weight, self.linear.bias)
        return activated


class _NormalisedSum(nn.Module):
    """A linear layer, the sum with what went around it, and its norm."""

    def __init__(self, linear: nn.Linear, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.linear, self.norm = linear, norm

    def forward(self, values: Tensor, residual: Tensor) -> Tensor:
        norm = self.norm
        normalised: Tensor = normalised_sum(self.linear(values), residual, norm.weight, norm.bias, norm.eps)
        return normalised


def _activations(module: nn.Module) -> Iterator[_Swap]:
    for product, activation in _ACTIVATED:
        linear, applied = (getattr(module, name, None) for name in (product, activation))
        if type(linear) is nn.Linear and linear.bias is not None and type(applied).__name__ in _GELU:
            yield _Swap(parent=module, name=product, usual=linear, fused=_ActivatedLinear(linear))
            yield _Swap(parent=module, name=activation, usual=applied, fused=nn.Identity())  # type: ignore[arg-type]


def _sums(module: nn.Module) -> Iterator[_Swap]:
    for name, child in module.named_children():
        linear, norm = (getattr(child, part, None) for part in ("dense", "LayerNorm"))
        if type(linear) is not nn.Linear or not isinstance(norm, nn.LayerNorm) or norm.bias is None:
            continue
        parts = {part for part, _ in child.named_children()}
        if parts <= {"dense", "LayerNorm", "dropout"} and len(inspect.signature(child.forward).parameters) == 2:
            yield _Swap(parent=module, name=name, usual=child, fused=_NormalisedSum(linear, norm))


@torch.library.custom_op("qatool::activated_product", mutates_args=())
def activated_product(values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return GELU of a linear layer's product, on a card within the product's kernel.

    :param values: ``(…, m)``
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
    """Return the layer norm of a sum, on a card in one kernel.

    :param values: ``(…, d)``, as is ``residual``
    :param weight: ``(d,)``, as is ``bias``
    :raises ImportError: this torch comes without Triton
    """
    if not values.is_cuda:
        return functional.layer_norm(values + residual, weight.shape, weight, bias, epsilon)
    from qatool.models import kernels

    return kernels.normalised_sum(values.contiguous(), residual.contiguous(), weight, bias, epsilon)


@normalised_sum.register_fake
def _(values: Tensor, _residual: Tensor, _weight: Tensor, _bias: Tensor, _epsilon: float) -> Tensor:
    return torch.empty_like(values)
