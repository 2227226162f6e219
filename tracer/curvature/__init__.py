"""What `backward` computes: rows, terms of the objective, quantities, products."""
