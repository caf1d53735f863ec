"""Floating-point operations: how many a forward pass takes, and how many a second the device reaches."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

_SIDE = 1_024
"""Rows and columns of the matrices multiplied on a CPU: like weights, too large for the caches of a core."""
_CARD_SIDE = 8_192


def window_flops(config: Any, length: int) -> float | None:
    """Return the floating-point operations of the matrix products of an encoder for one window.

    Each token is multiplied with the weights of every layer once (2 operations per weight), and in attention with
    all tokens of its window twice (Kaplan et al., "Scaling Laws for Neural Language Models", 2020, table 1, for
    encoders).

    :param config: the configuration of a transformers model
    :param length: tokens of the window
    :returns: the operations, ``None`` for a configuration that does not name its sizes as BERT's does
    """
    names = ("num_hidden_layers", "hidden_size", "intermediate_size")
    sizes = [size for name in names if isinstance(size := getattr(config, name, None), int)]
    if len(sizes) < len(names):
        return None
    layers, hidden, inner = sizes
    weights = 4 * hidden * hidden + 2 * hidden * inner
    return float(length * layers * (2 * weights + 4 * length * hidden))


def matmul_rate(device: torch.device, dtype: torch.dtype, *, threads: int = 1, seconds: float = 1.0) -> float:
    """Return the floating-point operations per second that a device reaches when it multiplies large square matrices.

    :param threads: products to compute at once, each on one thread of the CPU
    :param seconds: how long to measure, after a warm-up
    """
    side = _SIDE if device.type == "cpu" else _CARD_SIDE
    pairs = [[torch.randn(side, side, device=device, dtype=dtype) for _ in range(2)] for _ in range(threads)]
    operations = 2.0 * side**3

    def spin(pair: list[torch.Tensor], until: float) -> int:
        done = 0
        while time.perf_counter() < until:
            torch.mm(*pair)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            done += 1
        return done

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda pair: spin(pair, time.perf_counter() + 0.2), pairs))
            began = time.perf_counter()
            done = sum(pool.map(lambda pair: spin(pair, began + seconds), pairs))
            return done * operations / (time.perf_counter() - began)
    finally:
        torch.set_num_threads(before)
