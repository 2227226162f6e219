"""Losses that a program computes itself, as registered losses with their curvature."""

from __future__ import annotations

from typing import Any

from tracer.extend import TensorLike
from tracer_import.operators.table import operator
from tracer_layers import functional

#: PyTorch's numbers of reductions
REDUCTIONS = ("none", "mean", "sum")


@operator("cross_entropy_loss.default")
def cross_entropy(
    self: TensorLike, target: TensorLike, weight: TensorLike | None = None, reduction: int = 1,
    ignore_index: int = -100, label_smoothing: float = 0.0,
) -> TensorLike:  # fmt: skip
    """The negative log-probability of classes."""
    return functional.cross_entropy(
        self, target, weight, ignore_index=ignore_index, reduction=REDUCTIONS[reduction],
        label_smoothing=label_smoothing,
    )  # fmt: skip


@operator("nll_loss.default", "nll_loss_nd.default", "nll_loss2d.default")
def nll_loss(
    self: TensorLike, target: TensorLike, weight: TensorLike | None = None, reduction: int = 1,
    ignore_index: int = -100,
) -> TensorLike:  # fmt: skip
    """The negative of the entries of classes."""
    return functional.nll_loss(
        self, target, weight, ignore_index=ignore_index, reduction=REDUCTIONS[reduction]
    )


@operator("mse_loss.default")
def mse_loss(self: TensorLike, target: TensorLike, reduction: int = 1) -> TensorLike:
    """The squared error."""
    return functional.mse_loss(self, target, reduction=REDUCTIONS[reduction])


@operator("l1_loss.default")
def l1_loss(self: TensorLike, target: TensorLike, reduction: int = 1) -> TensorLike:
    """The absolute error."""
    return functional.l1_loss(self, target, reduction=REDUCTIONS[reduction])


@operator("smooth_l1_loss.default")
def smooth_l1_loss(
    self: TensorLike, target: TensorLike, reduction: int = 1, beta: float = 1.0
) -> TensorLike:
    """The squared error near zero, the absolute one beyond."""
    return functional.smooth_l1_loss(self, target, reduction=REDUCTIONS[reduction], beta=beta)


@operator("huber_loss.default")
def huber_loss(
    self: TensorLike, target: TensorLike, reduction: int = 1, delta: float = 1.0
) -> TensorLike:
    """The same, with the slope `delta` beyond."""
    return functional.huber_loss(self, target, reduction=REDUCTIONS[reduction], delta=delta)


@operator("binary_cross_entropy_with_logits.default")
def binary_cross_entropy_with_logits(
    self: TensorLike, target: TensorLike, weight: Any = None, pos_weight: Any = None,
    reduction: int = 1,
) -> TensorLike:  # fmt: skip
    """The negative log-probability of yes or no."""
    return functional.binary_cross_entropy_with_logits(
        self, target, weight, reduction=REDUCTIONS[reduction], pos_weight=pos_weight
    )
