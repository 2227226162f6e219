"""Kinds of rows: what starts at a loss."""

import math

import numpy as np
from tracer.extend import Rows, ggn_exact


class Sketched(Rows):
    """`samples` sums of the exact rows with random signs: the same matrix in expectation."""

    name = "everything_sketched"
    of_gauss_newton = True

    def __init__(self, samples=3):
        self.samples = samples

    def start(self, term, rng):
        """`[samples, *prediction.shape]`."""
        exact = ggn_exact.start(term, rng)[:]
        signs = rng.choice([-1.0, 1.0], (self.samples, len(exact))) / math.sqrt(self.samples)
        return np.tensordot(signs.astype(exact.dtype), exact, 1)


SKETCHED = Sketched()
