"""An extraction as a job: its shards as units, and who answers them."""
