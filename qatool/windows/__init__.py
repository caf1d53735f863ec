"""Texts into tokens, tokens into overlapping windows, windows into padded batches."""
