"""Losses of probabilities as functions and as modules."""

from __future__ import annotations

from tracer.extend import TensorLike
from tracer_layers.losses.loss import (
    LossModule,
    arrays,
    compared,
    reduced,
    refuse_deprecated,
)
from tracer_layers.losses.probability_operations import (
    BinaryCrossEntropyOfProbabilities,
    KullbackLeibler,
)

__all__ = ["BCELoss", "KLDivLoss", "binary_cross_entropy", "kl_div"]


def binary_cross_entropy(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    size_average: object = None,
    reduce: object = None,
    reduction: str = "mean",
) -> TensorLike:
    """`-t log x - (1 - t) log(1 - x)` of probabilities; `weight` is broadcast to the input.

    Logarithms count as at least -100. `binary_cross_entropy_with_logits` is more exact.
    """
    refuse_deprecated("binary_cross_entropy", size_average, reduce)
    input, target, weight = arrays(
        "binary_cross_entropy", input=input, target=target, weight=weight
    )
    x, target, weight = compared(input, target, weight)
    losses = BinaryCrossEntropyOfProbabilities(x, target)
    return reduced(losses if weight is None else losses * weight, reduction, input.dtype)


def kl_div(
    input: TensorLike,
    target: TensorLike,
    size_average: object = None,
    reduce: object = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> TensorLike:
    """`t (log t - x)` of log-probabilities x, and probabilities or (`log_target`) their logarithms.

    `reduction="batchmean"` divides the sum by the number of samples, as the divergence is defined;
    "mean", by that of elements. It is linear in x, and its Hessian zero: for Gauss-Newton
    quantities give logits and probabilities to `cross_entropy`, which differs by a constant.
    """
    refuse_deprecated("kl_div", size_average, reduce)
    input, target = arrays("kl_div", input=input, target=target)
    losses = KullbackLeibler(*compared(input, target), log_target=log_target)
    if reduction == "batchmean":
        return reduced(losses, "mean", input.dtype, input.shape[0] if input.ndim else 1)
    return reduced(losses, reduction, input.dtype)


class BCELoss(LossModule):
    """See `binary_cross_entropy`."""

    def __init__(
        self,
        weight: TensorLike | None = None,
        size_average: object = None,
        reduce: object = None,
        reduction: str = "mean",
    ):
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)

    def forward(self, input: TensorLike, target: TensorLike) -> TensorLike:
        return binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


class KLDivLoss(LossModule):
    """See `kl_div`."""

    def __init__(
        self,
        size_average: object = None,
        reduce: object = None,
        reduction: str = "mean",
        log_target: bool = False,
    ):
        by_samples = reduction == "batchmean"
        super().__init__(size_average, reduce, "mean" if by_samples else reduction)
        self.reduction = reduction
        self.log_target = log_target

    def forward(self, input: TensorLike, target: TensorLike) -> TensorLike:
        options = {"reduction": self.reduction, "log_target": self.log_target}
        return kl_div(input, target, **options)
