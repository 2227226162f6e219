"""Benchmarks: `python -m tests.benchmarks` measures and prints a table, beside installed peers."""
