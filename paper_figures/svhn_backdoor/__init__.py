"""A backdoor is planted late in training: what each measure sees of it, and what the weights give away."""
