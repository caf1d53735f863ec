"""What fits a card: how many tokens a batch, and what happens when they were too many."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from qatool.errors import EnvironmentUnfitError
from qatool.models.backend import BatchTooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterator

CUDA_BATCH_TOKENS = 262_144
"""A quarter of these fill the largest card. But the host is to stay ahead of it with small models, too, and the fewer
batches there are, the less it has to tell."""
_MOST_NUMBERS = 1 << 31
"""Of one tensor: not every kernel counts further."""
_FEWEST_TOKENS = 2_048
_LONG = 512
"""Tokens of a long window."""
_SHARE = 0.5
"""Of the free memory, for one batch: the allocator leaves gaps, and a card may be shared."""
_TOO_LARGE = (
    "can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED"
)  # fmt: skip
"""What is said by those who do not ask PyTorch for memory, the driver when it loads a kernel among them."""


def card_batch_tokens(free: int, config: Any, *, itemsize: int) -> int:
    """Return the tokens a batch that a card has memory for, a power of two.

    A layer's activations at their widest are what enters and leaves the two products of its feed-forward part, beside
    queries, keys, values and what is added to them: some 8 times the hidden and 2 times the inner size a token. The
    span search adds a few numbers for each length an answer may have.

    :param free: memory of the card that nobody uses, in bytes
    :param config: of a transformers model
    :param itemsize: bytes of a number
    """
    hidden = getattr(config, "hidden_size", None) or getattr(config, "dim", None) or 1_024
    inner = getattr(config, "intermediate_size", None) or getattr(config, "hidden_dim", None) or 4 * hidden
    # Attention that is not fused holds a number for each pair of tokens and head, twice.
    is_fused = getattr(config, "_attn_implementation", None) == "sdpa"
    pairs = 0 if is_fused else (getattr(config, "num_attention_heads", None) or 16) * _LONG
    token = (8 * hidden + 2 * inner + 2 * pairs) * itemsize + 2_048
    countable = (_MOST_NUMBERS - 1) // max(hidden, inner, pairs)
    fitting = min(max(int(_SHARE * free / token), _FEWEST_TOKENS), countable)
    return min(1 << (fitting.bit_length() - 1), CUDA_BATCH_TOKENS)


@contextmanager
def unless_full(what: str, device: torch.device) -> Iterator[None]:
    """Put something onto a device that must fit.

    :param what: it is, for messages
    :raises EnvironmentUnfitError: it does not
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
    """Turn the several ways of running out of memory into one.

    :raises BatchTooLargeError: out of memory
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
        # Not within the handler: there the error holds on to the memory of the batch.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise BatchTooLargeError(reason)
