"""Losses of classes as functions and as modules."""

from __future__ import annotations

import math

import numpy as np

from tracer.errors import TracerError
from tracer.extend import Array, TensorLike, backend
from tracer_layers.losses.classification_operations import (
    CrossEntropy,
    NegativeLogLikelihood,
    along_classes,
    ignored_class,
    picked_values,
)
from tracer_layers.losses.loss import (
    LossModule,
    arrays,
    compared,
    reduced,
    refuse_deprecated,
)
from tracer_layers.module.dtypes import WIDE, floats
from tracer_layers.module.rules import raw

__all__ = ["CrossEntropyLoss", "NLLLoss", "cross_entropy", "nll_loss"]

# -- functions, named as in torch.nn.functional ------------------------------------------------


def cross_entropy(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    size_average: object = None,
    ignore_index: int = -100,
    reduce: object = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> TensorLike:
    """Cross-entropy of logits `[N, C, *extra]` (or `[C]`) with indices or probabilities.

    The mean divides by the number of targets or, with class indices, by the sum of the weights of
    those that are not `ignore_index`.
    """
    refuse_deprecated("cross_entropy", size_average, reduce)
    if not 0 <= label_smoothing <= 1:
        raise TracerError(f"label_smoothing is between 0 and 1, got {label_smoothing}")
    input, target, weight = arrays("cross_entropy", input=input, target=target, weight=weight)
    if weight is not None:
        _refuse_variable(weight)
    x = input
    if weight is not None or input.dtype.char not in WIDE:
        x, weight = compared(input, weight)
    if target.dtype.kind == "f":
        target = floats(target, x)  # probabilities, whose sums would be rounded
    inputs = (x, target) if weight is None else (x, target, weight)
    logits, classes = raw(x), raw(target)
    ignored = ignored_class(logits, classes, ignore_index)
    losses = CrossEntropy(*inputs, ignored=ignored, label_smoothing=label_smoothing)
    count = _count(logits, classes, raw(weight), ignored)
    return reduced(losses, reduction, input.dtype, count)


def nll_loss(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    size_average: object = None,
    ignore_index: int = -100,
    reduce: object = None,
    reduction: str = "mean",
) -> TensorLike:
    """Negative log-likelihood of log-probabilities `[N, C, *extra]` with class indices."""
    refuse_deprecated("nll_loss", size_average, reduce)
    input, target, weight = arrays("nll_loss", input=input, target=target, weight=weight)
    if weight is not None:
        _refuse_variable(weight)
    x, weight = compared(input, weight)
    inputs = (x, target) if weight is None else (x, target, weight)
    ignored = ignored_class(raw(x), raw(target), ignore_index)
    losses = NegativeLogLikelihood(*inputs, ignored=ignored)
    count = _count(raw(x), raw(target), raw(weight), ignored)
    return reduced(losses, reduction, input.dtype, count)


def _refuse_variable(weight: TensorLike | None) -> None:
    """Refuse class weights that depend on parameters: the mean's divisor takes them as numbers."""
    node = getattr(weight, "node", None)
    if node is not None and node.wants:
        raise TracerError("expects class weights that are constants, got a tensor that depends on "
                          "parameters: detach it with tensor.detach()")  # fmt: skip


def _count(
    x: TensorLike, target: TensorLike, weight: TensorLike | None, ignored: int | None
) -> Array | float | None:
    """What the mean divides by, where it is not the number of losses: a number, or an array `[]`.

    It is the array where reading its value would wait for a device. The mean of none is NaN.
    """
    if target.ndim == x.ndim or (weight is None and ignored is None):
        return None
    if weight is None:
        total = (target != ignored).sum()
    else:
        table = np.broadcast_to(along_classes(weight, x), x.shape)
        total = picked_values(table, target, ignored).sum()
    return total.astype(x.dtype) if backend.of(x).asynchronous else float(total) or math.nan


# -- modules ----------------------------------------------------------------------------------


class CrossEntropyLoss(LossModule):
    """See `cross_entropy`."""

    def __init__(
        self,
        weight: TensorLike | None = None,
        size_average: object = None,
        ignore_index: int = -100,
        reduce: object = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ):
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, input: TensorLike, target: TensorLike) -> TensorLike:
        options = {"ignore_index": self.ignore_index, "reduction": self.reduction}
        return cross_entropy(
            input, target, self.weight, label_smoothing=self.label_smoothing, **options
        )


class NLLLoss(LossModule):
    """See `nll_loss`."""

    def __init__(
        self,
        weight: TensorLike | None = None,
        size_average: object = None,
        ignore_index: int = -100,
        reduce: object = None,
        reduction: str = "mean",
    ):
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index

    def forward(self, input: TensorLike, target: TensorLike) -> TensorLike:
        options = {"ignore_index": self.ignore_index, "reduction": self.reduction}
        return nll_loss(input, target, self.weight, **options)
