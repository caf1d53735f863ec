"""What ``qatool extract`` does: turn shards of examples into parts of answers, whichever engine schedules them."""
