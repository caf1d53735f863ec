"""Measures of answers: EM, F1 and their slices, curves, calibration, comparison."""
