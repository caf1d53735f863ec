"""The PyTorch backend, and what makes it fast on a card."""
