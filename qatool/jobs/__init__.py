"""Unattended jobs: units of work become durable parts, any failure can be resumed from, and one run works at a time.

Nothing here knows of questions or models: a job is a stream of units, and a function that turns a unit into a
table. Engines schedule that function.
"""
