"""Models: loading them, telling them apart, and backends that turn batches of windows into logits."""
