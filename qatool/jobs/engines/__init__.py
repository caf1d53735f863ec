"""Engines, which take units through their stages and make parts durable, in this process or elsewhere."""
