"""What is evaluated: answers and references, of whatever layout, and the contexts they are from."""
