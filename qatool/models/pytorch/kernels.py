"""Kernels of our own in Triton, which comes with torch's builds for CUDA and is missing from others.

There is one kernel for what torch does in two: adding a residual to the output of a layer, and the norm of that sum.
Both steps compute so little per number that nearly all their time goes to reading and writing it.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

_NUMBERS_A_WARP = 256
"""Numbers per warp: eight for each of its 32 threads, which a thread reads at once."""
_MOST_WARPS = 16


def normalised_sum(
    values: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epsilon: float
) -> torch.Tensor:
    """Return the layer norm of ``values + residual``, computed in fp32 whatever the type of the tensors.

    :param values: ``(…, d)``, contiguous and on a card, as are the others
    :param residual: ``(…, d)``
    :param weight: ``(d,)``
    :param bias: ``(d,)``
    """
    normalised = torch.empty_like(values)
    width = values.shape[-1]
    block = triton.next_power_of_2(width)
    warps = min(max(block // _NUMBERS_A_WARP, 1), _MOST_WARPS)
    with torch.cuda.device(values.device):
        _normalise_sum[(values.numel() // width,)](
            values, residual, weight, bias, normalised, width, epsilon, block, num_warps=warps
        )
    return normalised


@triton.jit  # type: ignore[untyped-decorator]
def _normalise_sum(values, residual, weight, bias, normalised, width, epsilon, block: tl.constexpr):  # type: ignore[no-untyped-def]
    """Add and normalise one row; Ba et al., "Layer Normalization" (2016)."""
    column = tl.arange(0, block)
    inside = column < width
    place = tl.program_id(0).to(tl.int64) * width + column
    total = tl.load(values + place, mask=inside, other=0.0).to(tl.float32)
    total += tl.load(residual + place, mask=inside, other=0.0).to(tl.float32)
    centred = tl.where(inside, total - tl.sum(total, axis=0) / width, 0.0)
    scale = tl.rsqrt(tl.sum(centred * centred, axis=0) / width + epsilon)
    stretched = centred * scale * tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    shifted = stretched + tl.load(bias + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(normalised + place, shifted.to(normalised.dtype.element_ty), mask=inside)
