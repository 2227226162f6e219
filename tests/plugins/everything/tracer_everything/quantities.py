"""Quantities: one of the gradient, one of rows of our own."""

import numpy as np
from tracer.extend import Quantity

from tracer_everything.rows import SKETCHED


class GradientL1(Quantity):
    """Sum over samples of the gradients' magnitudes, `sum_n |g_n|`, `[*p.shape]`."""

    name = "everything_l1"
    per_sample = True
    lists_samples = False

    def extract(self, cotangent, context):
        return np.abs(cotangent.per_sample()[0]).sum(0)

    def reference(self, brute):
        return np.abs(brute.gradients).sum(0)


class SketchedTrace(Quantity):
    """Trace of the Gauss-Newton block, estimated: exact in expectation, a number."""

    name = "everything_trace"
    rows = SKETCHED

    def extract(self, cotangent, context):
        return cotangent.squared_norms().sum()
