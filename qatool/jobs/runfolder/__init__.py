"""The run folder: durable parts, the lock, the plan and the log, from which a later start continues."""
