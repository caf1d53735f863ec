"""Values of columns: as JSON, as Arrow, and the types that kept columns have."""
