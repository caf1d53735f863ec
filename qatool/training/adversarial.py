"""Adversarial training: a step also learns from its windows with their embeddings moved so that the loss grows.

The fast gradient method, applied to word embeddings: Miyato, Dai and Goodfellow, "Adversarial Training Methods for
Semi-Supervised Text Classification" (2017), section 3. The model learns to give the same answers for embeddings close
to those it was shown, at the price of a second forward and backward pass.
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
    """Moves the word embeddings of windows in the direction that increases the loss of a model.

    :param model: the model; its ``get_input_embeddings`` returns the layer whose output is moved
    :param distance: how far each window is moved: the Euclidean norm over all its tokens and dimensions
    :param windows: ``(b, t)``: the shape of the batch
    """

    def __init__(self, model: Any, distance: float, *, windows: tuple[int, ...]) -> None:
        self._layer: nn.Module = model.get_input_embeddings()
        self._distance = distance
        self._windows = windows
        self._read: list[Tensor] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Record the embeddings of the single forward pass in this context, and later their gradient.

        :raises EnvironmentUnfitError: the model does not embed all windows in one call with one row for each
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
        """Move the embeddings of the forward pass in this context along the gradient of the recorded one.

        :raises RuntimeError: there was no backward pass since, or no gradient reached the embeddings
        """
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
