"""One reader for each input format: Parquet, JSON Lines, CSV and TSV, nested SQuAD, text."""
