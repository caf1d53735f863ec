"""Outputs: their targets, and the writers of answers."""
