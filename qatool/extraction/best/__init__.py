"""``--best-per question``: which documents are asked, and which answer is the best of all."""
