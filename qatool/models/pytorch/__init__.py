"""The PyTorch backend, and the code that makes it fast on a card."""
