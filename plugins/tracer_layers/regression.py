"""Losses of numbers: squared error, absolute error and between, Gaussian, Poisson, Bernoulli."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tracer import backend, operation
from tracer.dtypes import widened
from tracer.errors import QuantityError, ShapeError, TracerError
from tracer.random import poisson
from tracer_layers.activations import Logistic, softplus
from tracer_layers.dtypes import floats
from tracer_layers.loss import (
    EVERY,
    Loss,
    LossModule,
    arrays,
    compared,
    diagonal,
    from_host,
    only_prediction,
    reduced,
    refuse_deprecated,
    same_shape,
    standard_normal,
    weighted,
)
from tracer_layers.rules import raw


def _pairs(*options: dict[str, Any]) -> Any:
    """Example predictions and targets, apart from each other and from kinks."""

    def examples(rng: Any) -> list[Any]:
        x = rng.uniform(0.2, 1.0, (3, 2))
        offset = rng.uniform(0.1, 0.4, (3, 2)) * rng.choice([-1.0, 1.0], (3, 2))
        return [((x, x + offset), params) for params in options or ({},)]

    return examples


@operation("squared_error")
class SquaredError(Loss):
    """`(x - t)^2`; its likelihood is `N(x, I/2)`."""

    examples = _pairs()

    def forward(x, target):
        same_shape(x, target)
        return np.square(x - target)

    def vjp(node, g):
        x, target = node.inputs
        slope = 2 * g * (x - target)
        return slope, lambda: -slope

    def diagonal_hessian(node, weight):
        return 2 * weight

    def sqrt_hessian(node, weight, rows=EVERY):
        return diagonal(2 * weight, node, rows)

    def sqrt_hessian_sampled(node, weight, samples, rng):
        only_prediction(node)
        return np.sqrt(weight * (2 / samples)) * standard_normal(node, samples, rng)


@operation("absolute_error")
class AbsoluteError(Loss):
    """`|x - t|`, whose Hessian is zero almost everywhere."""

    examples = _pairs()

    def forward(x, target):
        same_shape(x, target)
        return abs(x - target)

    def vjp(node, g):
        x, target = node.inputs
        slope = g * np.sign(x - target)
        return slope, lambda: -slope

    def diagonal_hessian(node, weight):
        return 0 * weight

    def sqrt_hessian(node, weight, rows=EVERY):
        return diagonal(0 * weight, node, rows)


@operation("smooth_absolute_error")
class SmoothAbsoluteError(Loss):
    """`scale d^2 / 2` where `|d| < width`, `scale width (|d| - width / 2)` elsewhere, `d = x - t`.

    With `scale = 1` Huber's loss; with `scale = 1 / width` PyTorch's smooth L1.
    """

    examples = _pairs({"width": 0.25, "scale": 4.0}, {"width": 2.0, "scale": 1.0})

    def forward(x, target, *, width, scale):
        same_shape(x, target)
        size = abs(x - target)
        inside = np.minimum(size, width)
        return (inside * (size - 0.5 * inside)) * scale

    def vjp(node, g):
        x, target = node.inputs
        width, d = node.params["width"], x - target
        inside = (d > -width) & (d < width)
        slope = g * (np.where(inside, d, np.sign(d) * width) * node.params["scale"])
        return slope, lambda: -slope

    def diagonal_hessian(node, weight):
        x, target = node.inputs
        width, d = node.params["width"], x - target
        inside = (d > -width) & (d < width)
        return np.where(inside, weight * node.params["scale"], 0)

    def sqrt_hessian(node, weight, rows=EVERY):
        return diagonal(SmoothAbsoluteError.diagonal_hessian(node, weight), node, rows)


@operation("gaussian_nll")
class GaussianNLL(Loss):
    """`(log(var) + (x - t)^2 / var) / 2`, with `var` at least `eps`; its likelihood `N(x, var)`.

    As in PyTorch, the gradient of `var` does not see `eps`.
    """

    def forward(x, target, var, *, eps):
        same_shape(x, target)
        var = np.maximum(var, eps)
        return 0.5 * (np.log(var) + np.square(x - target) / var)

    def vjp(node, g):
        x, target, given = node.inputs
        var, d = np.maximum(given, node.params["eps"]), x - target
        return (
            lambda: g * (d / var),
            lambda: -g * (d / var),
            lambda: g * (0.5 * (1 / var - d * d / (var * var))),
        )

    def sqrt_hessian(node, weight, rows=EVERY):
        return diagonal(weight / np.maximum(node.inputs[2], node.params["eps"]), node, rows)

    def sqrt_hessian_sampled(node, weight, samples, rng):
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

    def forward(x, target, *, log_input, full, eps):
        same_shape(x, target)
        loss = np.exp(x) - target * x if log_input else x - target * np.log(x + eps)
        if full:
            above = np.where(target > 1, target, 1)
            stirling = above * np.log(above) - above + 0.5 * np.log(2 * math.pi * above)
            loss = loss + np.where(target > 1, stirling, 0).astype(loss.dtype)
        return loss

    def vjp(node, g):
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

    def forward(x, target, pos_weight=None):
        same_shape(x, target)
        negative = np.logaddexp(-x, 0)
        if pos_weight is not None:
            negative = negative * (1 + (pos_weight - 1) * target)
        return (1 - target) * x + negative

    def vjp(node, g):
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
        p = Logistic(node.inputs[0])
        return diagonal(weight * _positive_scale(node) * (p * (1 - p)), node, rows)

    def sqrt_hessian_sampled(node, weight, samples, rng):
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


# -- functions, named as in torch.nn.functional ------------------------------------------------


def mse_loss(
    input: Any,
    target: Any,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    weight: Any = None,
) -> Any:
    """`(input - target)^2`; the mean is over all elements, each counted by its `weight`."""
    refuse_deprecated("mse_loss", size_average, reduce)
    input, target, weight = arrays("mse_loss", input=input, target=target, weight=weight)
    losses = SquaredError(*compared(input, target))
    return weighted("mse_loss", losses, weight, reduction, input.dtype, by_weight=True)


def l2_penalty(*inputs: Any) -> Any:
    """The sum of the squares of all elements of these tensors: weight decay as a registered term.

    Of parameters, it counts in the gradient, in the Hessian and in Gauss-Newton matrices, whose
    diagonal blocks gain 2; plain code such as `np.sum(w**2)` is left out of the latter.
    """
    if not inputs:
        raise TracerError("l2_penalty expects tensors, got none: give it the parameters")
    terms = [mse_loss(x, np.zeros_like(raw(x)), reduction="sum") for x in inputs]
    return sum(terms[1:], terms[0])


def l1_loss(
    input: Any,
    target: Any,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    weight: Any = None,
) -> Any:
    """`|input - target|`; the mean is over all elements, each counted by its `weight`."""
    refuse_deprecated("l1_loss", size_average, reduce)
    input, target, weight = arrays("l1_loss", input=input, target=target, weight=weight)
    losses = AbsoluteError(*compared(input, target))
    return weighted("l1_loss", losses, weight, reduction, input.dtype, by_weight=True)


def smooth_l1_loss(
    input: Any,
    target: Any,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Any:
    """`d^2 / (2 beta)` where `|d| < beta`, `|d| - beta / 2` elsewhere (Girshick 2015)."""
    refuse_deprecated("smooth_l1_loss", size_average, reduce)
    if beta < 0:
        raise TracerError(f"beta is not negative, got {beta}")
    if beta == 0:
        return l1_loss(input, target, reduction=reduction)
    input, target = arrays("smooth_l1_loss", input=input, target=target)
    losses = SmoothAbsoluteError(*compared(input, target), width=beta, scale=1 / beta)
    return reduced(losses, reduction, input.dtype)


def huber_loss(
    input: Any, target: Any, reduction: str = "mean", delta: float = 1.0, weight: Any = None
) -> Any:
    """`d^2 / 2` where `|d| < delta`, `delta (|d| - delta / 2)` elsewhere (Huber 1964).

    `weight` scales each element, and the mean is over their number.
    """
    if delta <= 0:
        raise TracerError(f"delta is positive, got {delta}")
    input, target, weight = arrays("huber_loss", input=input, target=target, weight=weight)
    losses = SmoothAbsoluteError(*compared(input, target), width=delta, scale=1.0)
    return weighted("huber_loss", losses, weight, reduction, input.dtype)


def gaussian_nll_loss(
    input: Any,
    target: Any,
    var: Any,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Any:
    """`(log(var) + (input - target)^2 / var) / 2`, plus `log(2 pi) / 2` if `full`.

    `var` is a number, of the input's shape, or of that shape with a last axis of 1 or without it.
    """
    input, target = arrays("gaussian_nll_loss", input=input, target=target)
    if not isinstance(var, int | float):
        _, var = arrays("gaussian_nll_loss", input=input, target=var)
    data, dtype = raw(var), input.dtype
    input, target = compared(input, target)
    if isinstance(data, int | float):
        var = data = from_host(np.full((1,) * input.ndim, float(data)), raw(input))
    elif data.shape == input.shape[:-1]:
        var = var[..., None]
    elif data.shape not in (input.shape, (*input.shape[:-1], 1)):
        raise ShapeError(
            f"gaussian_nll_loss expects var as a number or of shape {list(input.shape)}, the last "
            f"axis left out or 1, got {list(data.shape)}"
        )
    if backend.of(data).asynchronous:
        var = np.where(data < 0, np.nan, var)
    elif bool((data < 0).any()):
        raise ShapeError("gaussian_nll_loss expects variances, got a negative one: use exp or abs")
    losses = GaussianNLL(input, target, widened(floats(var, input)), eps=eps)
    return reduced(losses + 0.5 * math.log(2 * math.pi) if full else losses, reduction, dtype)


def poisson_nll_loss(
    input: Any,
    target: Any,
    log_input: bool = True,
    full: bool = False,
    size_average: Any = None,
    eps: float = 1e-8,
    reduce: Any = None,
    reduction: str = "mean",
) -> Any:
    """`exp(input) - target input` for a log-rate, or with `log_input=False` for a rate."""
    refuse_deprecated("poisson_nll_loss", size_average, reduce)
    input, target = arrays("poisson_nll_loss", input=input, target=target)
    x, target = compared(input, target)
    losses = PoissonNLL(x, target, log_input=log_input, full=full, eps=eps)
    return reduced(losses, reduction, input.dtype)


def binary_cross_entropy_with_logits(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    pos_weight: Any = None,
) -> Any:
    """`-(p t log s + (1 - t) log(1 - s))` with `s = sigmoid(input)` and `p = pos_weight`.

    `weight` and `pos_weight` are broadcast to the input.
    """
    refuse_deprecated("binary_cross_entropy_with_logits", size_average, reduce)
    input, target, pos_weight, weight = arrays(
        "binary_cross_entropy_with_logits",
        input=input,
        target=target,
        pos_weight=pos_weight,
        weight=weight,
    )
    x, target, pos_weight, weight = compared(input, target, pos_weight, weight)
    losses = BinaryCrossEntropy(*((x, target) if pos_weight is None else (x, target, pos_weight)))
    return reduced(losses if weight is None else losses * weight, reduction, input.dtype)


# -- modules ----------------------------------------------------------------------------------


class MSELoss(LossModule):
    """See `mse_loss`."""

    def forward(self, input: Any, target: Any) -> Any:
        return mse_loss(input, target, reduction=self.reduction)


class L1Loss(LossModule):
    """See `l1_loss`."""

    def forward(self, input: Any, target: Any) -> Any:
        return l1_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(LossModule):
    """See `smooth_l1_loss`."""

    def __init__(
        self,
        size_average: Any = None,
        reduce: Any = None,
        reduction: str = "mean",
        beta: float = 1.0,
    ):
        super().__init__(size_average, reduce, reduction)
        self.beta = beta

    def forward(self, input: Any, target: Any) -> Any:
        return smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(LossModule):
    """See `huber_loss`."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0):
        super().__init__(reduction=reduction)
        self.delta = delta

    def forward(self, input: Any, target: Any) -> Any:
        return huber_loss(input, target, self.reduction, self.delta)


class GaussianNLLLoss(LossModule):
    """See `gaussian_nll_loss`."""

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean"):
        super().__init__(reduction=reduction)
        self.full = full
        self.eps = eps

    def forward(self, input: Any, target: Any, var: Any) -> Any:
        return gaussian_nll_loss(input, target, var, self.full, self.eps, self.reduction)


class PoissonNLLLoss(LossModule):
    """See `poisson_nll_loss`."""

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        size_average: Any = None,
        eps: float = 1e-8,
        reduce: Any = None,
        reduction: str = "mean",
    ):
        super().__init__(size_average, reduce, reduction)
        self.log_input = log_input
        self.full = full
        self.eps = eps

    def forward(self, log_input: Any, target: Any) -> Any:
        options = {"full": self.full, "eps": self.eps, "reduction": self.reduction}
        return poisson_nll_loss(log_input, target, self.log_input, **options)


class BCEWithLogitsLoss(LossModule):
    """See `binary_cross_entropy_with_logits`."""

    def __init__(
        self,
        weight: Any = None,
        size_average: Any = None,
        reduce: Any = None,
        reduction: str = "mean",
        pos_weight: Any = None,
    ):
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Any, target: Any) -> Any:
        return binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )
