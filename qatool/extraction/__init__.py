"""A shard of examples in, a part of answers out: what ``qatool extract`` does, whoever schedules it."""
