"""``--best-per question``: choose the documents to ask each question of, and the best of all their answers."""
