"""Optimisers on test problems, as in BackPACK's paper (Dangel, Kunstner and Hennig 2020).

Each optimiser is tuned over a grid by its last validation accuracy with one seed; the best of each
is trained with ten. `python -m tests.benchmarks optimisation --help`.
"""
