"""Features on disk: windows of labelled examples, what is wrong with them, and how to read them back."""
