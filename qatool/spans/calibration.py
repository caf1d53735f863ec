"""What makes native scores mean what they say, fitted by ``qatool calibrate``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How logits become probabilities; the defaults take the model at its word."""

    temperature: float = 1.0
    """Divides all logits."""
    answerable_slope: float = 1.0
    """How much the log odds that there is an answer grow with those the model gives."""
    answerable_bias: float = 0.0
    """Added to them."""
