"""NumPy's functions with their rules, one file per family."""
