"""Classes are added, one is removed and added again: what each measure sees of it."""
