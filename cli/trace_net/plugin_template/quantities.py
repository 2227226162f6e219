"""Quantities: what is read off each parameter's cotangent in the backward sweep."""

import numpy as np
from tracer.extend import Quantity


class SoftClipL1(Quantity):
    """Sum over samples of the gradients' magnitudes, `sum_n |g_n|`, `[*p.shape]`."""

    name = "softclip_l1"
    per_sample = True  # it reads gradients of single samples,
    lists_samples = False  # but sums over them

    def extract(self, cotangent, context):
        """From the contractions of the cotangent: here `[V, N, *p]`, with one row V."""
        return np.abs(cotangent.per_sample()[0]).sum(0)

    def reference(self, brute):
        """The same by its definition, which checks compare `extract` with."""
        return np.abs(brute.gradients).sum(0)
