"""The record as a networkx graph: folded and unrolled in time."""
