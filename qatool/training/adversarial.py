"""Adversarial training: a step also learns where its windows' embeddings are moved to a greater loss.

The fast gradient method at the word embeddings: Miyato, Dai and Goodfellow, "Adversarial Training Methods for
Semi-Supervised Text Classification" (2017), section 3. The model learns to keep its answers a little way off what it
was shown, at the price of a second forward and backward pass.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from qatool.errors import EnvironmentUnfitError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

_LEAST = 1e-12


class Adversary:
    """Moves the word embeddings of a model's windows against it.

    :param model: its ``get_input_embeddings`` names the layer
    :param distance: how far a window goes: the Euclidean norm over all its tokens and dimensions
    :param windows: ``(b, t)``, the shape of what the model reads
    """

    def __init__(self, model: Any, distance: float, *, windows: tuple[int, ...]) -> None:
        self._layer: nn.Module = model.get_input_embeddings()
        self._distance = distance
        self._windows = windows
        self._read: list[Tensor] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Remember the embeddings of the one forward pass in this context, and what gradient they get.

        :raises EnvironmentUnfitError: the model does not embed each of its windows once, one row each
        """

        def remember(layer: nn.Module, inputs: Any, embedded: Tensor) -> None:  # noqa: ARG001 (a hook's)
            self._read.append(embedded)
            if embedded.requires_grad:
                embedded.retain_grad()

        with _hooked(self._layer, remember):
            yield
        if [(tuple(one.shape[:-1]), one.requires_grad) for one in self._read] != [(self._windows, True)]:
            raise EnvironmentUnfitError("--adversarial: the embeddings of this model cannot be moved; drop it")

    @contextmanager
    def moving(self) -> Iterator[None]:
        """Move the embeddings of the forward pass in this context to where the one before had a greater loss."""
        (embedded,) = self._read
        gradient = embedded.grad
        if gradient is None:
            raise RuntimeError("no gradient reached the embeddings")
        size = gradient.float().square().sum(dim=(1, 2), keepdim=True).sqrt()
        step = (gradient * (self._distance / (size + _LEAST))).to(embedded.dtype)

        def move(layer: nn.Module, inputs: Any, embedded: Tensor) -> Tensor:  # noqa: ARG001 (a hook's)
            return embedded + step

        with _hooked(self._layer, move):
            yield


@contextmanager
def _hooked(layer: nn.Module, hook: Any) -> Iterator[None]:
    handle = layer.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
