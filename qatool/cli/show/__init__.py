"""Results of commands as text for a terminal or a log."""
