"""What is recorded: nodes, tensors, operations, and the tape that holds them."""
