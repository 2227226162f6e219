"""Losses of how near vectors are to each other, as functions and as modules."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tracer.errors import ShapeError, TracerError
from tracer.extend import TensorLike
from tracer_layers.losses.distance_layers import pairwise_distance
from tracer_layers.losses.embedding_operations import CosineEmbedding, TripletMargin
from tracer_layers.losses.loss import (
    LossModule,
    arrays,
    compared,
    reduced,
    refuse_deprecated,
)

__all__ = [
    "CosineEmbeddingLoss",
    "TripletMarginLoss",
    "TripletMarginWithDistanceLoss",
    "cosine_embedding_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]

#: the distance of two vectors, or of as many as there are before the last axis
Distance = Callable[[TensorLike, TensorLike], TensorLike]


def _side_by_side(loss: str, *vectors: TensorLike) -> TensorLike:
    """Vectors `[..., width]` of shapes that broadcast, as `[..., number, width]`."""
    try:
        shape = np.broadcast_shapes(*(x.shape for x in vectors))
    except ValueError:
        shape = ()
    if not shape:
        raise ShapeError(
            f"{loss} expects vectors [..., width] of one shape, got "
            f"{' and '.join(str(list(x.shape)) for x in vectors)}"
        )
    whole = [x if x.shape == shape else np.broadcast_to(x, shape) for x in vectors]
    return np.stack(whole, axis=-2)


def cosine_embedding_loss(
    input1: TensorLike,
    input2: TensorLike,
    target: TensorLike,
    margin: float = 0,
    size_average: object = None,
    reduce: object = None,
    reduction: str = "mean",
) -> TensorLike:
    """`1 - cos` of the angle between vectors `[N, D]` where t is 1, else `max(0, cos - margin)`.

    Signs t are 1 and -1. It is not convex in the vectors in general; Gauss-Newton quantities are
    then refused.
    """
    refuse_deprecated("cosine_embedding_loss", size_average, reduce)
    input1, input2, target = arrays(
        "cosine_embedding_loss", input=input1, input2=input2, target=target
    )
    first, second, signs = compared(input1, input2, target)
    pairs = _side_by_side("cosine_embedding_loss", first, second)
    losses = CosineEmbedding(pairs, signs, margin=margin)
    return reduced(losses, reduction, input1.dtype)


def triplet_margin_loss(
    anchor: TensorLike,
    positive: TensorLike,
    negative: TensorLike,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: object = None,
    reduce: object = None,
    reduction: str = "mean",
) -> TensorLike:
    """`max(0, margin + d(a, b) - d(a, c))` of vectors `[N, D]`, with `d(a, b) = |a - b + eps|_p`.

    With `swap` of the lesser of `d(a, c)` and `d(b, c)` (Balntas et al. 2016). It is not convex in
    the vectors in general; Gauss-Newton quantities are then refused.
    """
    name = "triplet_margin_loss"
    refuse_deprecated(name, size_average, reduce)
    _check_margin(name, margin)
    anchor, positive, negative = arrays(name, input=anchor, positive=positive, negative=negative)
    triples = _side_by_side(name, *compared(anchor, positive, negative))
    losses = TripletMargin(triples, margin=margin, p=float(p), eps=eps, swap=swap)
    return reduced(losses, reduction, anchor.dtype)


def triplet_margin_with_distance_loss(
    anchor: TensorLike,
    positive: TensorLike,
    negative: TensorLike,
    *,
    distance_function: Distance | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> TensorLike:
    """`triplet_margin_loss` with any distance, that of `pairwise_distance` by default.

    As code of its own, it has Gauss-Newton quantities where `Tape.backward` is told the `outputs`.
    """
    name = "triplet_margin_with_distance_loss"
    _check_margin(name, margin)
    anchor, positive, negative = arrays(name, input=anchor, positive=positive, negative=negative)
    a, b, c = compared(anchor, positive, negative)
    distance = pairwise_distance if distance_function is None else distance_function
    near, far = distance(a, b), distance(a, c)
    if swap:
        far = np.minimum(far, distance(b, c))
    return reduced(np.maximum(margin + near - far, 0), reduction, anchor.dtype)


def _check_margin(loss: str, margin: float) -> None:
    if not margin > 0:
        raise TracerError(f"{loss} expects a positive margin, got {margin}")


class CosineEmbeddingLoss(LossModule):
    """See `cosine_embedding_loss`."""

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
        return cosine_embedding_loss(input1, input2, target, **options)


class TripletMarginLoss(LossModule):
    """See `triplet_margin_loss`."""

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        size_average: object = None,
        reduce: object = None,
        reduction: str = "mean",
    ):
        super().__init__(size_average, reduce, reduction)
        _check_margin("TripletMarginLoss", margin)
        self.margin = margin
        self.p = p
        self.eps = eps
        self.swap = swap

    def forward(self, anchor: TensorLike, positive: TensorLike, negative: TensorLike) -> TensorLike:
        options = (self.margin, self.p, self.eps, self.swap)
        return triplet_margin_loss(anchor, positive, negative, *options, reduction=self.reduction)


class TripletMarginWithDistanceLoss(LossModule):
    """See `triplet_margin_with_distance_loss`."""

    def __init__(
        self,
        *,
        distance_function: Distance | None = None,
        margin: float = 1.0,
        swap: bool = False,
        reduction: str = "mean",
    ):
        super().__init__(reduction=reduction)
        _check_margin("TripletMarginWithDistanceLoss", margin)
        self.distance_function = distance_function
        self.margin = margin
        self.swap = swap

    def forward(self, anchor: TensorLike, positive: TensorLike, negative: TensorLike) -> TensorLike:
        return triplet_margin_with_distance_loss(
            anchor,
            positive,
            negative,
            distance_function=self.distance_function,
            margin=self.margin,
            swap=self.swap,
            reduction=self.reduction,
        )
