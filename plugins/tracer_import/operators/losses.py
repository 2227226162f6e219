"""Losses that a program computes itself, as registered losses with their curvature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from tracer.extend import Array, TensorLike, raw
from tracer_import.operators.table import operator
from tracer_layers import functional

Maybe: TypeAlias = "TensorLike | None"
Lengths: TypeAlias = "Sequence[int] | TensorLike"

#: PyTorch's numbers of reductions
REDUCTIONS = ("none", "mean", "sum")


@operator("cross_entropy_loss.default")
def cross_entropy(
    self: TensorLike, target: TensorLike, weight: Maybe = None, reduction: int = 1,
    ignore_index: int = -100, label_smoothing: float = 0.0,
) -> TensorLike:  # fmt: skip
    """The negative log-probability of classes."""
    return functional.cross_entropy(
        self, target, weight, ignore_index=ignore_index, reduction=REDUCTIONS[reduction],
        label_smoothing=label_smoothing,
    )  # fmt: skip


@operator("nll_loss.default", "nll_loss_nd.default", "nll_loss2d.default")
def nll_loss(
    self: TensorLike, target: TensorLike, weight: Maybe = None, reduction: int = 1,
    ignore_index: int = -100,
) -> TensorLike:  # fmt: skip
    """The negative of the entries of classes."""
    return functional.nll_loss(
        self, target, weight, ignore_index=ignore_index, reduction=REDUCTIONS[reduction]
    )


@operator("nll_loss_forward.default", "nll_loss2d_forward.default")
def nll_loss_forward(
    self: TensorLike, target: TensorLike, weight: Maybe, reduction: int, ignore_index: int
) -> tuple[TensorLike, Array]:
    """The same, with the weight of all targets, which the mean is over."""
    classes = raw(target)
    counted = classes != ignore_index
    every = counted if weight is None else counted * raw(weight)[np.where(counted, classes, 0)]
    total = np.sum(every, dtype=self.dtype) if reduction == 1 else np.zeros((), self.dtype)
    return nll_loss(self, target, weight, reduction, ignore_index), total


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
    self: TensorLike, target: TensorLike, weight: Maybe = None, pos_weight: Maybe = None,
    reduction: int = 1,
) -> TensorLike:  # fmt: skip
    """The negative log-probability of yes or no."""
    return functional.binary_cross_entropy_with_logits(
        self, target, weight, reduction=REDUCTIONS[reduction], pos_weight=pos_weight
    )


@operator("poisson_nll_loss.default")
def poisson_nll_loss(
    input: TensorLike, target: TensorLike, log_input: bool, full: bool, eps: float, reduction: int
) -> TensorLike:
    """The negative log-probability of counts."""
    return functional.poisson_nll_loss(
        input, target, log_input, full, eps=eps, reduction=REDUCTIONS[reduction]
    )


@operator("kl_div.default")
def kl_div(
    self: TensorLike, target: TensorLike, reduction: int = 1, log_target: bool = False
) -> TensorLike:
    """The divergence of `exp(self)` from the target."""
    return functional.kl_div(self, target, reduction=REDUCTIONS[reduction], log_target=log_target)


@operator("binary_cross_entropy.default")
def binary_cross_entropy(
    self: TensorLike, target: TensorLike, weight: Maybe = None, reduction: int = 1
) -> TensorLike:
    """The negative log-probability of yes or no, of probabilities."""
    return functional.binary_cross_entropy(self, target, weight, reduction=REDUCTIONS[reduction])


@operator("soft_margin_loss.default")
def soft_margin_loss(self: TensorLike, target: TensorLike, reduction: int = 1) -> TensorLike:
    """`log(1 + exp(-target self))`."""
    return functional.soft_margin_loss(self, target, reduction=REDUCTIONS[reduction])


@operator("margin_ranking_loss.default")
def margin_ranking_loss(
    input1: TensorLike, input2: TensorLike, target: TensorLike, margin: float = 0.0,
    reduction: int = 1,
) -> TensorLike:  # fmt: skip
    """By how much the first is not above the second where the target is 1."""
    return functional.margin_ranking_loss(
        input1, input2, target, margin, reduction=REDUCTIONS[reduction]
    )


@operator("hinge_embedding_loss.default")
def hinge_embedding_loss(
    self: TensorLike, target: TensorLike, margin: float = 1.0, reduction: int = 1
) -> TensorLike:
    """The distance itself where the target is 1, and how far it is below the margin elsewhere."""
    return functional.hinge_embedding_loss(self, target, margin, reduction=REDUCTIONS[reduction])


@operator("cosine_embedding_loss.default")
def cosine_embedding_loss(
    input1: TensorLike, input2: TensorLike, target: TensorLike, margin: float = 0.0,
    reduction: int = 1,
) -> TensorLike:  # fmt: skip
    """One less the cosine where the target is 1, and how far it is above the margin elsewhere."""
    return functional.cosine_embedding_loss(
        input1, input2, target, margin, reduction=REDUCTIONS[reduction]
    )


@operator("triplet_margin_loss.default")
def triplet_margin_loss(
    anchor: TensorLike, positive: TensorLike, negative: TensorLike, margin: float = 1.0,
    p: float = 2.0, eps: float = 1e-6, swap: bool = False, reduction: int = 1,
) -> TensorLike:  # fmt: skip
    """By how much the positive is not nearer than the negative, and the margin."""
    return functional.triplet_margin_loss(
        anchor, positive, negative, margin, p, eps, swap, reduction=REDUCTIONS[reduction]
    )


@operator("multi_margin_loss.default")
def multi_margin_loss(
    self: TensorLike, target: TensorLike, p: int = 1, margin: float = 1, weight: Maybe = None,
    reduction: int = 1,
) -> TensorLike:  # fmt: skip
    """By how much the scores of other classes are not below that of the class, and the margin."""
    return functional.multi_margin_loss(
        self, target, int(p), margin, weight, reduction=REDUCTIONS[reduction]
    )


@operator("multilabel_margin_loss.default")
def multilabel_margin_loss(self: TensorLike, target: TensorLike, reduction: int = 1) -> TensorLike:
    """The same for several classes, those before the first -1."""
    return functional.multilabel_margin_loss(self, target, reduction=REDUCTIONS[reduction])


@operator("multilabel_margin_loss_forward.default")
def multilabel_margin_loss_forward(
    self: TensorLike, target: TensorLike, reduction: int
) -> tuple[TensorLike, None]:
    """The same, with a place for which classes are meant, which is not given here."""
    return multilabel_margin_loss(self, target, reduction), None


@operator("ctc_loss.IntList", "ctc_loss.Tensor")
def ctc_loss(
    log_probs: TensorLike, targets: TensorLike, input_lengths: Lengths, target_lengths: Lengths,
    blank: int = 0, reduction: int = 1, zero_infinity: bool = False,
) -> TensorLike:  # fmt: skip
    """The negative log-likelihood of labels that lie anywhere along sequences."""
    return functional.ctc_loss(
        log_probs, targets, input_lengths, target_lengths, blank, REDUCTIONS[reduction],
        zero_infinity,
    )  # fmt: skip


@operator("_ctc_loss.default", "_ctc_loss.Tensor")
def ctc_loss_of_each(
    log_probs: TensorLike, targets: TensorLike, input_lengths: Lengths, target_lengths: Lengths,
    blank: int = 0, zero_infinity: bool = False,
) -> tuple[TensorLike, None]:  # fmt: skip
    """The same of each sequence, with a place for the forward variables, which are not given here.

    What is infinite stays so: PyTorch takes it away afterwards.
    """
    return ctc_loss(log_probs, targets, input_lengths, target_lengths, blank, 0), None
