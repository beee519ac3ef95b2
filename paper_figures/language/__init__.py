"""A small language model through training: what each measure sees, and under which law of the input."""
