"""Arrays and memory: what is below tensors."""
