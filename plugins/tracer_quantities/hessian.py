"""The Hessian's diagonal, exact on any graph.

Where a parameter is used linearly, from signed rows (`tracer.curvature.residuals`), which cost one
sweep per operation that bends; elsewhere from Hessian-vector products over a basis.
"""

import math

import numpy as np

from tracer.extend import Quantity, hessian

__all__ = [
    "DiagH",
    "DiagHBatch",
]


class DiagH(Quantity):
    """Diagonal of the Hessian of the objective, `d^2 L / dp^2`, `[*p.shape]`.

    A quantity of BackPACK (Dangel, Kunstner and Hennig 2020).
    """

    name = "diag_h"
    rows = hessian
    cheaper = "diag_ggn_mc"

    def extract(self, cotangent, context):
        return cotangent.sum_of_squares()

    def of_block(self, objective, leaf):
        return objective.hessian_diagonal(leaf)

    def reference(self, brute):
        return brute.hessians.sum(0)


class DiagHBatch(Quantity):
    """Each sample's share of the diagonal, `w d^2 l_n / dp^2`, `[N, *p.shape]`."""

    name = "diag_h_batch"
    rows = hessian
    per_sample = True
    cheaper = "diag_ggn_mc_batch"

    def elements(self, context):
        return (context.samples or 1) * math.prod(context.shape)

    def extract(self, cotangent, context):
        return cotangent.per_sample_squares()

    def of_block(self, objective, leaf):
        return objective.hessian_diagonal_of_samples(leaf)

    def merge(self, first, second, shards):
        return np.concatenate([shards[0].weight * first, shards[1].weight * second])

    def reference(self, brute):
        return brute.hessians
