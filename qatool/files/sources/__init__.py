"""From what the user typed to the files that are read, their bytes and their rows."""
