"""What commands show when they are done, as text for a terminal or a log."""
