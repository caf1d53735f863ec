"""One reader a format: rows of Parquet, JSON Lines, CSV, nested SQuAD, text."""
