"""The calibration that makes native scores true probabilities, fitted by ``qatool calibrate``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How logits become probabilities; the defaults change nothing."""

    temperature: float = 1.0
    """Divides all logits."""
    answerable_slope: float = 1.0
    """Factor on the model's log odds that there is an answer."""
    answerable_bias: float = 0.0
    """Added to these log odds after they are multiplied."""
