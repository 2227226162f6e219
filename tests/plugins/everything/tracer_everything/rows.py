"""Kinds of rows: what starts at a loss."""

import math

import numpy as np
from tracer.extend import Rows, generator, ggn_exact


class Sketched(Rows):
    """`samples` sums of the exact rows with random signs: the same matrix in expectation."""

    name = "everything_sketched"
    of_gauss_newton = True

    def __init__(self, samples=3):
        self.samples = samples

    def start(self, term, rng):
        """`[samples, *prediction.shape]`."""
        exact = np.moveaxis(ggn_exact.start(term, rng)[:], 1 + term.sample_axis, 1)
        rng = generator() if rng is None else rng
        count, samples = exact.shape[:2]
        signs = rng.choice([-1.0, 1.0], (samples, self.samples, count)) / math.sqrt(self.samples)
        rows = np.einsum("nmc,cn...->mn...", signs.astype(exact.dtype), exact)
        return np.moveaxis(rows, 1, 1 + term.sample_axis)


SKETCHED = Sketched()
