"""Dropout on a CPU at a fraction of the usual cost.

torch draws a random number of 53 bits for each element, on one thread, so that dropout everywhere takes nearly as
long as the rest of a step of a small model. To decide whether an element is kept, 16 bits suffice: one number of 64
bits decides for four elements.

Dropout: Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting" (2014).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn

_PARTS = 2**16
"""Number of values of 16 bits; the probability of dropout is rounded to a multiple of its inverse."""


class CheapDropout(TorchFunctionMode):
    """A context that replaces the dropout of modules called in it, on a CPU.

    Random numbers come from torch's own generator, so a seed always gives the same dropout, though not that of torch.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Call a function of torch, or :func:`dropped` in place of its dropout."""
        kwargs = kwargs or {}
        if func is functional.dropout and (asked := _asked(*args, **kwargs)):
            return dropped(*asked)
        return func(*args, **kwargs)


def rereads(model: nn.Module) -> bool:
    """Return whether a model runs layers again in the backward pass, as with gradient checkpointing.

    That must drop the same elements again, but happens outside the context.
    """
    names = ("gradient_checkpointing", "activation_checkpointing")  # of earlier and later transformers
    return any(getattr(layer, name, False) is True for layer in model.modules() for name in names)


def _asked(
    input: Tensor,  # noqa: A002  (torch calls it so)
    p: float = 0.5,
    training: bool = True,  # noqa: FBT001, FBT002  (torch takes it by place)
    inplace: bool = False,  # noqa: FBT001, FBT002
) -> tuple[Tensor, float] | None:
    """Return the values and the share to drop of a call of dropout, ``None`` if torch is to do the call itself."""
    is_ours = training and not inplace and input.device.type == "cpu" and 0 < round(p * _PARTS) < _PARTS
    return (input, p) if is_ours else None


def dropped(values: Tensor, share: float) -> Tensor:
    """Return the values with a random share of them set to 0, and the others scaled up to keep the expected sum.

    :param values: of any shape, on a CPU
    :param share: in (0, 1); rounded to a multiple of 2**-16
    """
    parts = round(share * _PARTS)
    return cast("Tensor", _Dropped.apply(values, parts))  # type: ignore[no-untyped-call]


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, parts: int) -> Tensor:
        drawn = torch.empty(-(-values.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        kept = (drawn.view(torch.int16)[: values.numel()] >= parts - _PARTS // 2).view(values.shape)
        ctx.save_for_backward(kept)
        ctx.scale = _PARTS / (_PARTS - parts)
        return _only(values, kept, ctx.scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return _only(gradients[0], kept, ctx.scale), None


def _only(values: Tensor, kept: Tensor, scale: float) -> Tensor:
    return (values * kept).mul_(scale)
