"""Kinds of rows: what starts at a loss."""

import math

import numpy as np
from tracer.extend import Rows, ggn_exact


class Sketched(Rows):
    """`count` sums of the exact rows with random signs: the same matrix in expectation."""

    name = "everything_sketched"
    of_gauss_newton = True

    def __init__(self, count=2):
        self.count = count

    def start(self, term, rng):
        """`[count, *prediction.shape]`."""
        exact = ggn_exact.start(term, rng)[:]
        rng = np.random.default_rng(0) if rng is None else rng
        signs = rng.choice([-1.0, 1.0], (self.count, len(exact))) / math.sqrt(self.count)
        return np.tensordot(signs.astype(exact.dtype), exact, 1)


SKETCHED = Sketched()
