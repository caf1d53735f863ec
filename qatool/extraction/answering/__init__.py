"""Turn one shard of examples into one part of answers; all engines use this."""
