"""Turn the logits of windows into ranked answer spans of examples."""
