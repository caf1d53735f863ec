"""One shard of examples becomes one part of answers, whoever asks for it."""
