"""Evaluation of answers: figures against references, calibration, and the report."""
