"""Tokenise texts, cut the tokens into overlapping windows, and pad windows to batches."""
