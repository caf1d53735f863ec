"""Input files: found from what the user typed, opened as streams of bytes, and read as rows."""
