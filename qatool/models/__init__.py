"""Models: loading, identity, and backends that turn batches of windows into logits."""
