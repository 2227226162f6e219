"""Losses of probabilities: Bernoulli's negative log-likelihood, and the divergence of two."""

from __future__ import annotations

import numpy as np

from tracer import operation
from tracer.errors import QuantityError, ShapeError
from tracer.extend import (
    backend,
    by_slopes,
)
from tracer_layers.losses.loss import EVERY, Loss, diagonal, same_shape
from tracer_layers.module.rules import raw

#: what a logarithm counts as at least, as in PyTorch
LEAST_LOG = -100.0


@operation("binary_cross_entropy_of_probabilities")
class BinaryCrossEntropyOfProbabilities(Loss):
    """`-t log x - (1 - t) log(1 - x)` of probabilities x; logarithms count as at least -100.

    Its Hessian depends on the target, so that it has no rows that are sampled.
    """

    jvp = by_slopes

    def forward(x, target):
        same_shape(x, target)
        if not backend.of(x).asynchronous and not bool(((x >= 0) & (x <= 1)).all()):
            raise ShapeError(
                "expects probabilities from 0 to 1: apply a sigmoid, or give the values before it "
                "to binary_cross_entropy_with_logits"
            )
        with np.errstate(divide="ignore"):
            logs = np.maximum(np.log(x), LEAST_LOG), np.maximum(np.log1p(-x), LEAST_LOG)
        return -target * logs[0] - (1 - target) * logs[1]

    def vjp(node, g):
        """g_x = g (x - t) / (x (1 - x)); g_t = g (log(1 - x) - log(x))."""
        x, target = node.inputs
        return (
            lambda: g * ((x - target) / np.maximum(x * (1 - x), 1e-12)),
            lambda: g * (np.log1p(-x) - np.log(x)),
        )

    def sqrt_hessian(node, weight, rows=EVERY):
        """S_c = sqrt(weight_c (t_c / x_c^2 + (1 - t_c) / (1 - x_c)^2)) e_c, a row per element c."""
        x, target = node.inputs
        if not backend.of(x).asynchronous and bool(((target < 0) | (target > 1)).any()):
            raise QuantityError(
                "binary_cross_entropy is not convex in its prediction where a target is no "
                "probability: give targets from 0 to 1"
            )
        curvature = target / np.square(x) + (1 - target) / np.square(1 - x)
        return diagonal(weight * curvature, node, rows)

    def examples(rng):
        return [((rng.uniform(0.1, 0.9, (3, 2)), rng.uniform(0.1, 0.9, (3, 2))), {})]


@operation("kl_divergence")
class KullbackLeibler(Loss):
    """`t (log t - x)` of log-probabilities x, and of log-targets `exp(t) (t - x)`: linear in x."""

    jvp = by_slopes

    def forward(x, target, *, log_target):
        same_shape(x, target)
        if log_target:
            return np.exp(target) * (target - x)
        return target * (np.log(np.where(target > 0, target, 1)) - x)

    def vjp(node, g):
        """g_x = -g t; g_t = g (log t + 1 - x). Of log-targets -g exp(t); g exp(t) (t + 1 - x)."""
        x, target = node.inputs
        if node.params["log_target"]:
            return lambda: -g * np.exp(target), lambda: g * np.exp(target) * (target + 1 - x)
        there = raw(target) > 0

        def probabilities():
            return g * np.where(there, np.log(np.where(there, target, 1)) + 1 - x, 0)

        return lambda: -g * target, probabilities

    def diagonal_hessian(node, weight):
        """Zero: it is linear in x."""
        return 0 * weight

    def sqrt_hessian(node, weight, rows=EVERY):
        """Zero: it is linear in x."""
        return diagonal(0 * weight, node, rows)

    def examples(rng):
        x, t = np.log(rng.dirichlet(np.ones(3), 2)), rng.dirichlet(np.full(3, 9.0), 2)
        return [((x, t), {"log_target": False}), ((x, np.log(t)), {"log_target": True})]
