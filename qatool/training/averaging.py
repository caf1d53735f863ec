"""Average trained weights with those of other models.

Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing
inference time" (2022): models that are trained in different ways from the same start lie in one basin of the loss,
and the peculiarities of each cancel out in their mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from qatool.errors import UsageError
from qatool.models.pytorch.torch_backend import load_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


class OtherWeights:
    """The weights of other models, to average trained weights with.

    :param parts: for each model its weights by name, and its share of the mean; the shares add up to less than 1
    """

    def __init__(self, parts: list[tuple[Mapping[str, Tensor], float]]) -> None:
        self._parts = parts

    @classmethod
    def load(cls, parts: Mapping[str, float], model: Any, *, trust_remote_code: bool) -> OtherWeights:
        """Load models by folder or hub id.

        :param parts: the share of each model in the mean, by folder or hub id
        :param model: the model in training; the weights of the others must have the same names and shapes
        :raises EnvironmentUnfitError: a model does not load
        :raises UsageError: the weights of a model have other names or shapes
        """
        wanted = {name: value.shape for name, value in model.state_dict().items()}
        loaded = []
        for name, part in parts.items():
            other = load_weights(name, dtype=torch.float32, allow_pickle=False, trust_remote_code=trust_remote_code)
            weights = other.state_dict()
            if {key: value.shape for key, value in weights.items()} != wanted:
                raise UsageError(f"--average {name}: its weights have other shapes than --model's; name one like it")
            loaded.append((weights, part))
        return cls(loaded)

    def average_into(self, model: Any) -> None:
        """Replace the weights of a model by the mean of its own and the others."""
        own = 1 - sum(part for _, part in self._parts)
        # All means are computed before any weight is replaced: tied weights appear under several names.
        means = {}
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                means[name] = own * value + sum(part * weights[name].to(value) for weights, part in self._parts)
        model.load_state_dict(means, strict=False)
