"""Quantities of first derivatives. `g_n` is sample n's share of the gradient."""

import math

import numpy as np

from tracer.extend import Quantity

__all__ = [
    "BatchDot",
    "BatchL2",
    "Grad",
    "GradBatch",
    "SumGradSquared",
    "Variance",
]


class Grad(Quantity):
    """The gradient of the objective, `dL/dp = sum_n g_n`, `[*p.shape]`."""

    name = "grad"
    needs_samples = False

    def extract(self, cotangent, context):
        return cotangent.total()[0]

    def reference(self, brute):
        return brute.gradients.sum(0)


class GradBatch(Quantity):
    """The samples' gradients `g_n = w dl_n/dp`, `[N, *p.shape]`; they sum to `grad`.

    A quantity of BackPACK (Dangel, Kunstner and Hennig 2020), as those below.
    """

    name = "grad_batch"
    per_sample = True
    cheaper = "batch_l2"

    def elements(self, context):
        return (context.samples or 1) * math.prod(context.shape)

    def extract(self, cotangent, context):
        return cotangent.per_sample()[0]

    def merge(self, first, second, shards):
        return np.concatenate([shards[0].weight * first, shards[1].weight * second])

    def reference(self, brute):
        return brute.gradients


class BatchL2(Quantity):
    """Squared Euclidean norms of the samples' gradients, `||g_n||^2`, `[N]` (Goodfellow 2015)."""

    name = "batch_l2"
    per_sample = True
    first = True  # of a convolution, a kernel gives the gradient with the norms

    def elements(self, context):
        return context.samples or 1

    def extract(self, cotangent, context):
        return cotangent.squared_norms()[0]

    def merge(self, first, second, shards):
        return np.concatenate([shards[0].weight ** 2 * first, shards[1].weight ** 2 * second])

    def reference(self, brute):
        return np.square(_flat(brute.gradients)).sum(1)


class BatchDot(Quantity):
    """Inner products of all pairs of the samples' gradients, `g_n^T g_m`, `[N, N]`.

    The products between two shards are in neither shard's value, so the state is what the samples'
    gradients are made of, in the algebra's form.
    """

    name = "batch_dot"
    per_sample = True
    cheaper = "batch_l2"

    def elements(self, context):
        return (context.samples or 1) ** 2

    def extract(self, cotangent, context):
        return cotangent

    def join(self, first, second):
        return first

    def merge(self, first, second, shards):
        return first.scaled(shards[0].weight).beside(second.scaled(shards[1].weight))

    def finish(self, state, context):
        return state.gram()[0, :, 0]

    def reference(self, brute):
        return _flat(brute.gradients) @ _flat(brute.gradients).T


class SumGradSquared(Quantity):
    """Sum over samples of the squared gradient, `sum_n g_n^2`, `[*p.shape]`, element by element."""

    name = "sum_grad_squared"
    per_sample = True
    lists_samples = False

    def extract(self, cotangent, context):
        return cotangent.sum_of_squares()

    def merge(self, first, second, shards):
        return shards[0].weight ** 2 * first + shards[1].weight ** 2 * second

    def reference(self, brute):
        return np.square(brute.gradients).sum(0)


class Variance(Quantity):
    """Variance of the samples' gradients, `mean_n g_n^2 - (mean_n g_n)^2`, `[*p.shape]`.

    The state is (number of samples, their mean, their sum of squared deviations), which merges
    without cancellation (Chan, Golub and LeVeque 1979). Of no samples it is zero.
    """

    name = "variance"
    per_sample = True
    lists_samples = False

    def extract(self, cotangent, context):
        count = cotangent.samples
        mean = cotangent.batch_total()[0] / max(1, count)
        if count == 1:
            return count, mean, mean - mean  # no rounding, and NaN where the mean has one
        return count, mean, cotangent.sum_of_squares() - count * mean * mean

    def join(self, first, second):
        return first

    def merge(self, first, second, shards):
        (n, mean_n, m_n), (k, mean_k, m_k) = (
            (count, shard.weight * mean, shard.weight**2 * squares)
            for (count, mean, squares), shard in zip((first, second), shards, strict=True)
        )
        difference = mean_k - mean_n
        total = max(1, n + k)
        return (
            total,
            mean_n + difference * (k / total),
            m_n + m_k + difference * difference * (n * k / total),
        )

    def finish(self, state, context):
        count, _, squares = state
        return np.maximum(squares, 0) / max(1, count)

    def reference(self, brute):
        return brute.gradients.var(0)


def _flat(gradients):
    return gradients.reshape(len(gradients), -1)
