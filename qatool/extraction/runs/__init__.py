"""One run of an extraction: what it reads, its folder, its progress and its output."""
