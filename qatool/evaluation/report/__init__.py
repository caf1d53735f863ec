"""One self-contained page that shows answers: figures, charts, and a choice of answers in their contexts."""
