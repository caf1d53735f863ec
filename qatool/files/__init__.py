"""Streams in and out: where the input lies, rows read from it in any format, answers written atomically."""
