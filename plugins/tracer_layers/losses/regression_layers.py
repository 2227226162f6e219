"""Losses of numbers as functions and as modules."""

from __future__ import annotations

import math

import numpy as np

from tracer.errors import ShapeError, TracerError
from tracer.extend import TensorLike, backend, widened
from tracer_layers.losses.loss import (
    LossModule,
    arrays,
    compared,
    from_host,
    reduced,
    refuse_deprecated,
    weighted,
)
from tracer_layers.losses.regression_operations import (
    AbsoluteError,
    BinaryCrossEntropy,
    GaussianNLL,
    PoissonNLL,
    SmoothAbsoluteError,
    SquaredError,
)
from tracer_layers.module.dtypes import floats
from tracer_layers.module.rules import raw

__all__ = [
    "BCEWithLogitsLoss",
    "GaussianNLLLoss",
    "HuberLoss",
    "L1Loss",
    "MSELoss",
    "PoissonNLLLoss",
    "SmoothL1Loss",
    "binary_cross_entropy_with_logits",
    "gaussian_nll_loss",
    "huber_loss",
    "l1_loss",
    "l2_penalty",
    "mse_loss",
    "poisson_nll_loss",
    "smooth_l1_loss",
]

# -- functions, named as in torch.nn.functional ------------------------------------------------


def mse_loss(
    input: TensorLike,
    target: TensorLike,
    size_average: object = None,
    reduce: object = None,
    reduction: str = "mean",
    weight: TensorLike | None = None,
) -> TensorLike:
    """`(input - target)^2`; the mean is over all elements, each counted by its `weight`."""
    refuse_deprecated("mse_loss", size_average, reduce)
    input, target, weight = arrays("mse_loss", input=input, target=target, weight=weight)
    losses = SquaredError(*compared(input, target))
    return weighted("mse_loss", losses, weight, reduction, input.dtype, by_weight=True)


def l2_penalty(*inputs: TensorLike) -> TensorLike:
    """The sum of the squares of all elements of these tensors: weight decay as a registered term.

    Of parameters, it counts in the gradient, in the Hessian and in Gauss-Newton matrices, whose
    diagonal blocks gain 2; plain code such as `np.sum(w**2)` is left out of the latter.
    """
    if not inputs:
        raise TracerError("l2_penalty expects tensors, got none: give it the parameters")
    terms = [mse_loss(x, np.zeros_like(raw(x)), reduction="sum") for x in inputs]
    return sum(terms[1:], terms[0])


def l1_loss(
    input: TensorLike,
    target: TensorLike,
    size_average: object = None,
    reduce: object = None,
    reduction: str = "mean",
    weight: TensorLike | None = None,
) -> TensorLike:
    """`|input - target|`; the mean is over all elements, each counted by its `weight`."""
    refuse_deprecated("l1_loss", size_average, reduce)
    input, target, weight = arrays("l1_loss", input=input, target=target, weight=weight)
    losses = AbsoluteError(*compared(input, target))
    return weighted("l1_loss", losses, weight, reduction, input.dtype, by_weight=True)


def smooth_l1_loss(
    input: TensorLike,
    target: TensorLike,
    size_average: object = None,
    reduce: object = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> TensorLike:
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
    input: TensorLike,
    target: TensorLike,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: TensorLike | None = None,
) -> TensorLike:
    """`d^2 / 2` where `|d| < delta`, `delta (|d| - delta / 2)` elsewhere (Huber 1964).

    `weight` scales each element, and the mean is over their number.
    """
    if delta <= 0:
        raise TracerError(f"delta is positive, got {delta}")
    input, target, weight = arrays("huber_loss", input=input, target=target, weight=weight)
    losses = SmoothAbsoluteError(*compared(input, target), width=delta, scale=1.0)
    return weighted("huber_loss", losses, weight, reduction, input.dtype)


def gaussian_nll_loss(
    input: TensorLike,
    target: TensorLike,
    var: TensorLike,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> TensorLike:
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
    input: TensorLike,
    target: TensorLike,
    log_input: bool = True,
    full: bool = False,
    size_average: object = None,
    eps: float = 1e-8,
    reduce: object = None,
    reduction: str = "mean",
) -> TensorLike:
    """`exp(input) - target input` for a log-rate, or with `log_input=False` for a rate."""
    refuse_deprecated("poisson_nll_loss", size_average, reduce)
    input, target = arrays("poisson_nll_loss", input=input, target=target)
    x, target = compared(input, target)
    losses = PoissonNLL(x, target, log_input=log_input, full=full, eps=eps)
    return reduced(losses, reduction, input.dtype)


def binary_cross_entropy_with_logits(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    size_average: object = None,
    reduce: object = None,
    reduction: str = "mean",
    pos_weight: TensorLike | None = None,
) -> TensorLike:
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

    def forward(self, input: TensorLike, target: TensorLike) -> TensorLike:
        return mse_loss(input, target, reduction=self.reduction)


class L1Loss(LossModule):
    """See `l1_loss`."""

    def forward(self, input: TensorLike, target: TensorLike) -> TensorLike:
        return l1_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(LossModule):
    """See `smooth_l1_loss`."""

    def __init__(
        self,
        size_average: object = None,
        reduce: object = None,
        reduction: str = "mean",
        beta: float = 1.0,
    ):
        super().__init__(size_average, reduce, reduction)
        self.beta = beta

    def forward(self, input: TensorLike, target: TensorLike) -> TensorLike:
        return smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(LossModule):
    """See `huber_loss`."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0):
        super().__init__(reduction=reduction)
        self.delta = delta

    def forward(self, input: TensorLike, target: TensorLike) -> TensorLike:
        return huber_loss(input, target, self.reduction, self.delta)


class GaussianNLLLoss(LossModule):
    """See `gaussian_nll_loss`."""

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean"):
        super().__init__(reduction=reduction)
        self.full = full
        self.eps = eps

    def forward(self, input: TensorLike, target: TensorLike, var: TensorLike) -> TensorLike:
        return gaussian_nll_loss(input, target, var, self.full, self.eps, self.reduction)


class PoissonNLLLoss(LossModule):
    """See `poisson_nll_loss`."""

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        size_average: object = None,
        eps: float = 1e-8,
        reduce: object = None,
        reduction: str = "mean",
    ):
        super().__init__(size_average, reduce, reduction)
        self.log_input = log_input
        self.full = full
        self.eps = eps

    def forward(self, log_input: TensorLike, target: TensorLike) -> TensorLike:
        options = {"full": self.full, "eps": self.eps, "reduction": self.reduction}
        return poisson_nll_loss(log_input, target, self.log_input, **options)


class BCEWithLogitsLoss(LossModule):
    """See `binary_cross_entropy_with_logits`."""

    def __init__(
        self,
        weight: TensorLike | None = None,
        size_average: object = None,
        reduce: object = None,
        reduction: str = "mean",
        pos_weight: TensorLike | None = None,
    ):
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: TensorLike, target: TensorLike) -> TensorLike:
        return binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )
