"""Figures of answers: EM and F1 and what they depend on, curves, calibration, comparison."""
