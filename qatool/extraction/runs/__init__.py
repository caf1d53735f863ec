"""One run of an extraction: its input, run folder, progress and output."""
