"""Features on disk: make windows of labelled examples, audit them, write them, and read them back."""
