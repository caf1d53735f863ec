"""Where answers go, and how they are written."""
