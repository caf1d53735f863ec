"""Jobs one can leave alone: units of work turned into durable parts, resumed after anything, one run at a time.

Nothing here knows of questions or models: a job is a stream of units, and a function that turns a unit into a
table. Engines schedule that function.
"""
