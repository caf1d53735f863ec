"""From rows to the examples that are asked, with their labels."""
