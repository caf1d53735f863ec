"""The run folder: durable parts, the lock, the plan and the log; what a later start goes on from."""
