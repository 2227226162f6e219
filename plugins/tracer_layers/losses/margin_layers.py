"""Losses that ask for a margin between scores, as functions and as modules."""

from __future__ import annotations

import numpy as np

from tracer.errors import TracerError
from tracer.extend import TensorLike
from tracer_layers.losses.loss import (
    LossModule,
    arrays,
    compared,
    constant_weight,
    reduced,
    refuse_deprecated,
)
from tracer_layers.losses.margin_operations import (
    Hinge,
    HingeEmbedding,
    MultiLabelMargin,
    MultiMargin,
    SoftMargin,
)
from tracer_layers.losses.regression_operations import BinaryCrossEntropy

__all__ = [
    "HingeEmbeddingLoss",
    "MarginRankingLoss",
    "MultiLabelMarginLoss",
    "MultiLabelSoftMarginLoss",
    "MultiMarginLoss",
    "SoftMarginLoss",
    "hinge_embedding_loss",
    "margin_ranking_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "soft_margin_loss",
]

# -- functions, named as in torch.nn.functional ------------------------------------------------


def margin_ranking_loss(
    input1: TensorLike,
    input2: TensorLike,
    target: TensorLike,
    margin: float = 0,
    size_average: object = None,
    reduce: object = None,
    reduction: str = "mean",
) -> TensorLike:
    """`max(0, margin - t (x1 - x2))`: x1 is to rank higher where t is 1, lower where it is -1."""
    refuse_deprecated("margin_ranking_loss", size_average, reduce)
    input1, input2, target = arrays(
        "margin_ranking_loss", input=input1, input2=input2, target=target
    )
    first, second, signs = compared(input1, input2, target)
    difference = first - second
    losses = Hinge(difference, np.broadcast_to(signs, difference.shape), margin=margin)
    return reduced(losses, reduction, input1.dtype)


def hinge_embedding_loss(
    input: TensorLike,
    target: TensorLike,
    margin: float = 1.0,
    size_average: object = None,
    reduce: object = None,
    reduction: str = "mean",
) -> TensorLike:
    """A distance x where t is 1, and `max(0, margin - x)` where it is -1."""
    refuse_deprecated("hinge_embedding_loss", size_average, reduce)
    input, target = arrays("hinge_embedding_loss", input=input, target=target)
    losses = HingeEmbedding(*compared(input, target), margin=margin)
    return reduced(losses, reduction, input.dtype)


def soft_margin_loss(
    input: TensorLike,
    target: TensorLike,
    size_average: object = None,
    reduce: object = None,
    reduction: str = "mean",
) -> TensorLike:
    """`log(1 + exp(-t x))` for t of 1 and -1."""
    refuse_deprecated("soft_margin_loss", size_average, reduce)
    input, target = arrays("soft_margin_loss", input=input, target=target)
    return reduced(SoftMargin(*compared(input, target)), reduction, input.dtype)


def multi_margin_loss(
    input: TensorLike,
    target: TensorLike,
    p: int = 1,
    margin: float = 1.0,
    weight: TensorLike | None = None,
    size_average: object = None,
    reduce: object = None,
    reduction: str = "mean",
) -> TensorLike:
    """`sum_j w_t max(0, margin - x_t + x_j)^p / C` of scores `[N, C]` (or `[C]`) and classes.

    The sum is over the classes other than t; `p` is 1 or 2, and `weight` `[C]`.
    """
    refuse_deprecated("multi_margin_loss", size_average, reduce)
    if p not in (1, 2):
        raise TracerError(f"multi_margin_loss expects p as 1 or 2, got {p!r}")
    input, target, weight = arrays("multi_margin_loss", input=input, target=target, weight=weight)
    constant_weight("multi_margin_loss", weight)
    x, weight = compared(input, weight)
    alone, shape = x.ndim == 1 and target.size == 1, target.shape
    if alone:
        x, target = x[None], target.reshape(1)
    inputs = (x, target) if weight is None else (x, target, weight)
    losses = MultiMargin(*inputs, p=p, margin=margin)
    return reduced(losses.reshape(shape) if alone else losses, reduction, input.dtype)


def multilabel_margin_loss(
    input: TensorLike,
    target: TensorLike,
    size_average: object = None,
    reduce: object = None,
    reduction: str = "mean",
) -> TensorLike:
    """`sum_kj max(0, 1 - x[t_k] + x[j]) / C` over labels t_k and all j that are none.

    Scores and labels are `[N, C]` (or `[C]`); labels are those before the first -1.
    """
    refuse_deprecated("multilabel_margin_loss", size_average, reduce)
    input, target = arrays("multilabel_margin_loss", input=input, target=target)
    (x,) = compared(input)
    alone = x.ndim == 1
    losses = MultiLabelMargin(*((x[None], target[None]) if alone else (x, target)))
    return reduced(losses[0] if alone else losses, reduction, input.dtype)


def multilabel_soft_margin_loss(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    size_average: object = None,
    reduce: object = None,
    reduction: str = "mean",
) -> TensorLike:
    """The mean over labels of `binary_cross_entropy_with_logits`, of logits and labels `[N, C]`."""
    refuse_deprecated("multilabel_soft_margin_loss", size_average, reduce)
    input, target, weight = arrays(
        "multilabel_soft_margin_loss", input=input, target=target, weight=weight
    )
    x, target, weight = compared(input, target, weight)
    losses = BinaryCrossEntropy(x, target)
    losses = np.mean(losses if weight is None else losses * weight, axis=-1)
    return reduced(losses, reduction, input.dtype)


# -- modules ----------------------------------------------------------------------------------


class MarginRankingLoss(LossModule):
    """See `margin_ranking_loss`."""

    def __init__(
        self,
        margin: float = 0.0,
        size_average: object = None,
        reduce: object = None,
        reduction: str = "mean",
    ):
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def forward(self, input1: TensorLike, input2: TensorLike, target: TensorLike) -> TensorLike:
        options = {"margin": self.margin, "reduction": self.reduction}
        return margin_ranking_loss(input1, input2, target, **options)


class HingeEmbeddingLoss(LossModule):
    """See `hinge_embedding_loss`."""

    def __init__(
        self,
        margin: float = 1.0,
        size_average: object = None,
        reduce: object = None,
        reduction: str = "mean",
    ):
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def forward(self, input: TensorLike, target: TensorLike) -> TensorLike:
        return hinge_embedding_loss(input, target, self.margin, reduction=self.reduction)


class SoftMarginLoss(LossModule):
    """See `soft_margin_loss`."""

    def forward(self, input: TensorLike, target: TensorLike) -> TensorLike:
        return soft_margin_loss(input, target, reduction=self.reduction)


class MultiMarginLoss(LossModule):
    """See `multi_margin_loss`."""

    def __init__(
        self,
        p: int = 1,
        margin: float = 1.0,
        weight: TensorLike | None = None,
        size_average: object = None,
        reduce: object = None,
        reduction: str = "mean",
    ):
        super().__init__(size_average, reduce, reduction)
        if p not in (1, 2):
            raise TracerError(f"MultiMarginLoss expects p as 1 or 2, got {p!r}")
        self.register_buffer("weight", weight)
        self.p = p
        self.margin = margin

    def forward(self, input: TensorLike, target: TensorLike) -> TensorLike:
        options = (self.p, self.margin, self.weight)
        return multi_margin_loss(input, target, *options, reduction=self.reduction)


class MultiLabelMarginLoss(LossModule):
    """See `multilabel_margin_loss`."""

    def forward(self, input: TensorLike, target: TensorLike) -> TensorLike:
        return multilabel_margin_loss(input, target, reduction=self.reduction)


class MultiLabelSoftMarginLoss(LossModule):
    """See `multilabel_soft_margin_loss`."""

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
        return multilabel_soft_margin_loss(input, target, self.weight, reduction=self.reduction)
