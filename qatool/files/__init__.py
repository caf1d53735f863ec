"""Input and output: find the input files, read rows from any format, and write answers atomically."""
