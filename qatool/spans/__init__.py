"""From the logits of windows to the ranked answer spans of examples."""
