"""Losses that a program computes itself, as registered losses with their curvature."""

from __future__ import annotations

from typing import Any

import numpy as np

from tracer.extend import TensorLike, raw
from tracer_import.operators.context import Operand
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


def _reduced(each: TensorLike, reduction: int) -> Operand:
    return each if reduction == 0 else np.mean(each) if reduction == 1 else np.sum(each)


@operator("poisson_nll_loss.default")
def poisson_nll_loss(
    input: TensorLike, target: TensorLike, log_input: bool, full: bool, eps: float, reduction: int
) -> TensorLike:
    """The negative log-probability of counts."""
    return functional.poisson_nll_loss(
        input, target, log_input, full, eps=eps, reduction=REDUCTIONS[reduction]
    )


@operator("soft_margin_loss.default")
def soft_margin_loss(self: TensorLike, target: TensorLike, reduction: int = 1) -> Operand:
    """`log(1 + exp(-target self))`."""
    return _reduced(np.logaddexp(0, -target * self), reduction)


@operator("margin_ranking_loss.default")
def margin_ranking_loss(
    input1: TensorLike, input2: TensorLike, target: TensorLike, margin: float = 0.0,
    reduction: int = 1,
) -> Operand:  # fmt: skip
    """By how much the first is not above the second where the target is 1."""
    return _reduced(functional.relu(-target * (input1 - input2) + margin), reduction)


@operator("hinge_embedding_loss.default")
def hinge_embedding_loss(
    self: TensorLike, target: TensorLike, margin: float = 1.0, reduction: int = 1
) -> Operand:
    """The distance itself where the target is 1, and how far it is below the margin elsewhere."""
    each = np.where(raw(target) == 1, self, functional.relu(margin - self))
    return _reduced(each, reduction)


@operator("cosine_embedding_loss.default")
def cosine_embedding_loss(
    input1: TensorLike, input2: TensorLike, target: TensorLike, margin: float = 0.0,
    reduction: int = 1,
) -> Operand:  # fmt: skip
    """One less the cosine where the target is 1, and by how much it is above the margin elsewhere.

    As in PyTorch, the squared norms have 1e-12 added.
    """
    products = np.sum(input1 * input2, axis=-1)
    squares = [np.sum(np.square(x), axis=-1) + 1e-12 for x in (input1, input2)]
    cosine = products / np.sqrt(squares[0] * squares[1])
    each = np.where(raw(target) == 1, 1 - cosine, functional.relu(cosine - margin))
    return _reduced(each, reduction)


@operator("triplet_margin_loss.default")
def triplet_margin_loss(
    anchor: TensorLike, positive: TensorLike, negative: TensorLike, margin: float = 1.0,
    p: float = 2.0, eps: float = 1e-6, swap: bool = False, reduction: int = 1,
) -> Operand:  # fmt: skip
    """By how much the positive is not nearer than the negative, and the margin."""
    near = functional.pairwise_distance(anchor, positive, p, eps)
    far = functional.pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = np.minimum(far, functional.pairwise_distance(positive, negative, p, eps))
    return _reduced(functional.relu(near - far + margin), reduction)
