"""Read the files of an evaluation: answers and references in any layout, and the contexts of answers."""
