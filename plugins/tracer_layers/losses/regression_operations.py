"""Losses of numbers: squared error, absolute error and between, Gaussian, Poisson, Bernoulli."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tracer import operation
from tracer.errors import QuantityError
from tracer.extend import (
    Generator,
    Params,
    backend,
    by_slopes,
    poisson,
)
from tracer_layers.activations.functions import softplus
from tracer_layers.activations.operations import Logistic
from tracer_layers.losses.loss import (
    EVERY,
    Loss,
    diagonal,
    from_host,
    only_prediction,
    same_shape,
    standard_normal,
)
from tracer_layers.module.rules import raw


def _pairs(*options: Params) -> Callable[[Generator], list[Any]]:
    """Example predictions and targets, apart from each other and from kinks."""

    def examples(rng: Generator) -> list[Any]:
        x = rng.uniform(0.2, 1.0, (3, 2))
        offset = rng.uniform(0.1, 0.4, (3, 2)) * rng.choice([-1.0, 1.0], (3, 2))
        return [((x, x + offset), params) for params in options or ({},)]

    return examples


@operation("squared_error")
class SquaredError(Loss):
    """`(x - t)^2`; its likelihood is `N(x, I/2)`."""

    examples = _pairs()
    jvp = by_slopes

    def forward(x, target):
        same_shape(x, target)
        return np.square(x - target)

    def vjp(node, g):
        """g_x = 2 g (x - t); g_t = -g_x."""
        x, target = node.inputs
        slope = 2 * g * (x - target)
        return slope, lambda: -slope

    def diagonal_hessian(node, weight):
        """2 weight."""
        return 2 * weight

    def sqrt_hessian(node, weight, rows=EVERY):
        """S_c = sqrt(2 weight_c) e_c, a row per element c."""
        return diagonal(2 * weight, node, rows)

    def sqrt_hessian_sampled(node, weight, samples, rng):
        """sqrt(2 weight / M) times standard normal numbers: 2 (x - t) for t of N(x, I/2)."""
        only_prediction(node)
        return np.sqrt(weight * (2 / samples)) * standard_normal(node, samples, rng)


@operation("absolute_error")
class AbsoluteError(Loss):
    """`|x - t|`, whose Hessian is zero almost everywhere."""

    examples = _pairs()
    jvp = by_slopes

    def forward(x, target):
        same_shape(x, target)
        return abs(x - target)

    def vjp(node, g):
        """g_x = g sign(x - t); g_t = -g_x."""
        x, target = node.inputs
        slope = g * np.sign(x - target)
        return slope, lambda: -slope

    def diagonal_hessian(node, weight):
        """Zero almost everywhere."""
        return 0 * weight

    def sqrt_hessian(node, weight, rows=EVERY):
        """Zero almost everywhere."""
        return diagonal(0 * weight, node, rows)


@operation("smooth_absolute_error")
class SmoothAbsoluteError(Loss):
    """`scale d^2 / 2` where `|d| < width`, `scale width (|d| - width / 2)` elsewhere, `d = x - t`.

    With `scale = 1` Huber's loss; with `scale = 1 / width` PyTorch's smooth L1.
    """

    examples = _pairs({"width": 0.25, "scale": 4.0}, {"width": 2.0, "scale": 1.0})
    jvp = by_slopes

    def forward(x, target, *, width, scale):
        same_shape(x, target)
        size = abs(x - target)
        inside = np.minimum(size, width)
        return (inside * (size - 0.5 * inside)) * scale

    def vjp(node, g):
        """g_x = g scale d where |d| < width, g scale width sign(d) elsewhere; g_t = -g_x."""
        x, target = node.inputs
        width, d = node.params["width"], x - target
        inside = (d > -width) & (d < width)
        slope = g * (np.where(inside, d, np.sign(d) * width) * node.params["scale"])
        return slope, lambda: -slope

    def diagonal_hessian(node, weight):
        """weight scale where |d| < width, 0 elsewhere."""
        x, target = node.inputs
        width, d = node.params["width"], x - target
        inside = (d > -width) & (d < width)
        return np.where(inside, weight * node.params["scale"], 0)

    def sqrt_hessian(node, weight, rows=EVERY):
        """S_c = sqrt(weight_c scale) e_c where |d| < width, else 0: a row per element c."""
        return diagonal(SmoothAbsoluteError.diagonal_hessian(node, weight), node, rows)


@operation("gaussian_nll")
class GaussianNLL(Loss):
    """`(log(var) + (x - t)^2 / var) / 2`, with `var` at least `eps`; its likelihood `N(x, var)`.

    As in PyTorch, the gradient of `var` does not see `eps`.
    """

    jvp = by_slopes

    def forward(x, target, var, *, eps):
        same_shape(x, target)
        var = np.maximum(var, eps)
        return 0.5 * (np.log(var) + np.square(x - target) / var)

    def vjp(node, g):
        """g_x = g d / var; g_t = -g_x; g_var = g (1 / var - d**2 / var**2) / 2, with d = x - t."""
        x, target, given = node.inputs
        var, d = np.maximum(given, node.params["eps"]), x - target
        return (
            lambda: g * (d / var),
            lambda: -g * (d / var),
            lambda: g * (0.5 * (1 / var - d * d / (var * var))),
        )

    def sqrt_hessian(node, weight, rows=EVERY):
        """S_c = sqrt(weight_c / var_c) e_c, a row per element c of x."""
        return diagonal(weight / np.maximum(node.inputs[2], node.params["eps"]), node, rows)

    def sqrt_hessian_sampled(node, weight, samples, rng):
        """sqrt(weight / (M var)) times standard normal numbers: d / var for t of N(x, var)."""
        only_prediction(node)
        curvature = weight / np.maximum(node.inputs[2], node.params["eps"])
        return np.sqrt(curvature * (1 / samples)) * standard_normal(node, samples, rng)

    def examples(rng):
        x, t, var = rng.random((3, 2)), rng.random((3, 2)), rng.uniform(0.5, 1, (3, 2))
        return [((x, t, var), {"eps": 1e-6}), ((x, t, var[:, :1]), {"eps": 1e-6})]


@operation("poisson_nll")
class PoissonNLL(Loss):
    """`exp(x) - t x` for a log-rate x, or `x - t log(x + eps)` for a rate; `full` adds Stirling's.

    Stirling's approximation of `log(t!)` is added for targets above 1.
    """

    jvp = by_slopes

    def forward(x, target, *, log_input, full, eps):
        same_shape(x, target)
        loss = np.exp(x) - target * x if log_input else x - target * np.log(x + eps)
        if full:
            above = np.where(target > 1, target, 1)
            stirling = above * np.log(above) - above + 0.5 * np.log(2 * math.pi * above)
            loss = loss + np.where(target > 1, stirling, 0).astype(loss.dtype)
        return loss

    def vjp(node, g):
        """g_x = g (exp(x) - t); g_t = -g x. For a rate g (1 - t / (x + eps)); -g log(x + eps).

        Stirling's approximation adds g (log(t) + 1 / (2 t)) to g_t where t > 1.
        """
        (x, target), p = node.inputs, node.params

        def data():
            return g * (np.exp(x) - target if p["log_input"] else 1 - target / (x + p["eps"]))

        def counts():
            slope = -x if p["log_input"] else -np.log(x + p["eps"])
            if p["full"]:
                above = np.where(target > 1, target, 1)
                slope = slope + np.where(target > 1, np.log(above) + 0.5 / above, 0)
            return g * slope

        return data, counts

    def sqrt_hessian(node, weight, rows=EVERY):
        """S_c = sqrt(weight_c exp(x_c)) e_c, a row per element c.

        For a rate sqrt(weight_c t_c) / (x_c + eps) e_c.
        """
        (x, target), p = node.inputs, node.params
        if p["log_input"]:
            return diagonal(weight * np.exp(x), node, rows)
        if not backend.of(target).asynchronous and bool((target < 0).any()):
            raise QuantityError(
                "poisson_nll is not convex in its prediction where a target is negative: give "
                "counts as targets"
            )
        return diagonal(weight * target / np.square(x + p["eps"]), node, rows)

    def sqrt_hessian_sampled(node, weight, samples, rng):
        """sqrt(weight / M) (exp(x) - t), with t drawn from Poisson(exp(x))."""
        only_prediction(node)
        if not node.params["log_input"]:
            raise QuantityError(
                "poisson_nll with log_input=False has no sampled rows, since its Hessian depends "
                "on the target: use the exact quantity, or log_input=True"
            )
        x = node.inputs[0]
        rate = np.exp(x)
        counts = from_host(poisson(rng, raw(rate), samples), x)
        return np.sqrt(weight * (1 / samples)) * (rate - counts)

    def examples(rng):
        x, counts = rng.uniform(0.2, 1.0, (3, 2)), rng.integers(0, 4, (3, 2)) + 0.5
        return [
            ((x, counts), {"log_input": log_input, "full": full, "eps": 1e-8})
            for log_input in (True, False)
            for full in (False, True)
        ]


@operation("binary_cross_entropy")
class BinaryCrossEntropy(Loss):
    """`(1 - t) x + (1 + (p - 1) t) log(1 + exp(-x))` of logits x; `p`, optional, weighs positives.

    Its likelihood is the Bernoulli distribution; with `p`, its Hessian scaled per element.
    """

    jvp = by_slopes

    def forward(x, target, pos_weight=None):
        same_shape(x, target)
        negative = np.logaddexp(-x, 0)
        if pos_weight is not None:
            negative = negative * (1 + (pos_weight - 1) * target)
        return (1 - target) * x + negative

    def vjp(node, g):
        """g_x = g (1 - t - s sigmoid(-x)) with s = 1 + (p - 1) t.

        g_t = g (-x + (p - 1) softplus(-x)); g_p = g t softplus(-x).
        """
        x, target, *positive = node.inputs
        scale = _positive_scale(node)

        def logits():
            return g * (1 - target - scale * Logistic(-x))

        def labels():
            slope = -x if not positive else -x + (positive[0] - 1) * softplus(-x)
            return g * slope

        def weights():
            return g * (target * softplus(-x))

        return (logits, labels, weights)[: len(node.inputs)]

    def sqrt_hessian(node, weight, rows=EVERY):
        """S_c = sqrt(weight_c s_c y_c (1 - y_c)) e_c with y = sigmoid(x), a row per element c."""
        p = Logistic(node.inputs[0])
        return diagonal(weight * _positive_scale(node) * (p * (1 - p)), node, rows)

    def sqrt_hessian_sampled(node, weight, samples, rng):
        """sqrt(weight s / M) (y - b) with y = sigmoid(x), and b drawn from Bernoulli(y)."""
        only_prediction(node)
        x = node.inputs[0]
        p = Logistic(x)
        uniform = from_host(rng.random((samples, *x.shape)), x)
        scale = np.sqrt(weight * _positive_scale(node) * (1 / samples))
        return scale * (p - (uniform < p))

    def examples(rng):
        x, t = rng.standard_normal((3, 2)), rng.random((3, 2))
        return [((x, t), {}), ((x, t, rng.uniform(0.5, 2, 2)), {})]


def _positive_scale(node):
    """What the logarithm is multiplied by: 1, or `1 + (p - 1) t`."""
    _, target, *positive = node.inputs
    return 1 + (positive[0] - 1) * target if positive else 1
