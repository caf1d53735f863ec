"""Where files lie, on a disk or in a store: named, read, and written so that they appear whole."""
