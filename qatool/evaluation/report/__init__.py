"""The report: one self-contained HTML page with figures, charts, and a choice of answers in their contexts."""
