"""The memory of a card: how many tokens a batch may have, and how running out of memory is handled."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from qatool.errors import EnvironmentUnfitError
from qatool.models.backend import BatchTooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterator

CUDA_BATCH_TOKENS = 262_144
"""Most tokens per batch. A quarter of these would keep the largest card busy, but with small models the host must
stay ahead of the card, too: the fewer batches there are, the less it has to launch."""
_MOST_NUMBERS = 1 << 31
"""Numbers in one tensor must be fewer: not every kernel can index more."""
_FEWEST_TOKENS = 2_048
_LONG = 512
"""Tokens of a long window."""
_SHARE = 0.5
"""Share of the free memory to use for one batch: the allocator leaves gaps, and a card may be shared."""
_TOO_LARGE = (
    "can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED"
)  # fmt: skip
"""Parts of the errors of libraries that do not allocate through PyTorch, and of the driver when it loads a kernel."""


def card_batch_tokens(free: int, config: Any, *, itemsize: int) -> int:
    """Return the number of tokens per batch that a card has memory for, a power of two.

    The most memory is needed for the inputs and outputs of the two feed-forward products of a layer, together with
    queries, keys, values and residuals: per token some 8 times the hidden size and 2 times the inner size. The span
    search adds a few numbers for each length that an answer may have.

    :param free: unused memory of the card, in bytes
    :param config: the configuration of a transformers model
    :param itemsize: bytes per number
    """
    hidden = getattr(config, "hidden_size", None) or getattr(config, "dim", None) or 1_024
    inner = getattr(config, "intermediate_size", None) or getattr(config, "hidden_dim", None) or 4 * hidden
    # Attention that is not fused holds two numbers for each head and pair of tokens.
    is_fused = getattr(config, "_attn_implementation", None) == "sdpa"
    pairs = 0 if is_fused else (getattr(config, "num_attention_heads", None) or 16) * _LONG
    token = (8 * hidden + 2 * inner + 2 * pairs) * itemsize + 2_048
    countable = (_MOST_NUMBERS - 1) // max(hidden, inner, pairs)
    fitting = min(max(int(_SHARE * free / token), _FEWEST_TOKENS), countable)
    return min(1 << (fitting.bit_length() - 1), CUDA_BATCH_TOKENS)


@contextmanager
def unless_full(what: str, device: torch.device) -> Iterator[None]:
    """Turn running out of memory in the block, which puts something onto a device, into an error for the user.

    :param what: what is put there, in words
    :raises EnvironmentUnfitError: the device lacks memory for it
    """
    try:
        with telling_too_large():
            yield
    except BatchTooLargeError as error:
        reason = str(error).partition(". ")[0]
        raise EnvironmentUnfitError(
            f"{device} has no memory for {what} ({reason}); end what else uses it, or take another --device"
        ) from None


@contextmanager
def telling_too_large() -> Iterator[None]:
    """Turn the different errors of running out of memory in the block into one.

    :raises BatchTooLargeError: the device ran out of memory
    """
    reason = None
    try:
        yield
    except torch.OutOfMemoryError as error:
        reason = str(error)
    except RuntimeError as error:
        reason = str(error)
        if not any(known in reason for known in _TOO_LARGE):
            raise
    if reason is not None:
        # Raised outside the handlers: inside, the caught error would keep the memory of the batch alive.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise BatchTooLargeError(reason)
