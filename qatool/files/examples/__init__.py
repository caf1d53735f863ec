"""Examples and their labels, made from rows."""
