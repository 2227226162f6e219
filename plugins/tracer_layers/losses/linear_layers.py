"""Cross-entropy of logits that a linear map gives, as one function and one module."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import DTypeLike

from tracer.errors import ShapeError, TracerError
from tracer.extend import Generator, TensorLike
from tracer_layers.linear_maps.layers import Linear, linear
from tracer_layers.losses.classification_layers import cross_entropy
from tracer_layers.losses.loss import LossModule, arrays

__all__ = ["LinearCrossEntropyLoss", "linear_cross_entropy"]

#: an index that no target has
NONE = int(np.iinfo(np.int64).min)


def linear_cross_entropy(
    input: TensorLike,
    linear_weight: TensorLike,
    target: TensorLike,
    *,
    linear_bias: TensorLike | None = None,
    weight: TensorLike | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: object = None,
) -> TensorLike:
    """`cross_entropy(linear(input, linear_weight, linear_bias), target, ...)`.

    A weight `[C, *extra, I]` gives logits `[N, C, *extra]`. `options`, PyTorch's way to save memory
    by chunks of samples, are not taken: sweeps have `memory_budget=`.
    """
    if options is not None:
        raise TracerError(
            "linear_cross_entropy takes no options: leave them out, and give Tape.backward a "
            "memory_budget"
        )
    input, linear_weight, target = arrays(
        "linear_cross_entropy", input=input, linear_weight=linear_weight, target=target
    )
    outputs, width = tuple(linear_weight.shape[:-1]), linear_weight.shape[-1]
    if input.ndim not in (1, 2) or input.shape[-1] != width or not outputs:
        raise ShapeError(
            f"linear_cross_entropy expects inputs [N, I] and a weight [C, *extra, I], got "
            f"{list(input.shape)} and {list(linear_weight.shape)}"
        )
    flat = linear_weight.reshape(math.prod(outputs), width)
    shift = None if linear_bias is None else linear_bias.reshape(math.prod(outputs))
    logits = linear(input, flat, shift).reshape(*input.shape[:-1], *outputs)
    return cross_entropy(
        logits,
        target,
        weight,
        ignore_index=NONE if ignore_index is None else ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )


class LinearCrossEntropyLoss(LossModule):
    """A linear map to classes, and the cross-entropy of its logits; see `linear_cross_entropy`."""

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: object = None,
        dtype: DTypeLike | None = None,
        reduction: str = "mean",
        weight: TensorLike | None = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: object = None,
        rng: Generator | None = None,
    ):
        super().__init__(reduction=reduction)
        self.register_buffer("weight", weight)
        self.num_classes = num_classes
        self.out_features = out_features
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        outputs = math.prod(out_features, start=num_classes)
        self.linear = Linear(in_features, outputs, bias, dtype=dtype, rng=rng)
        self.options = options

    def forward(self, input: TensorLike, target: TensorLike) -> TensorLike:
        linear, outputs = self.linear, (self.num_classes, *self.out_features)
        return linear_cross_entropy(
            input,
            linear.weight.reshape(*outputs, linear.in_features),
            target,
            linear_bias=None if linear.bias is None else linear.bias.reshape(outputs),
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            options=self.options,
        )

    def extra_repr(self) -> str:
        return (
            f"in_features={self.linear.in_features}, num_classes={self.num_classes}, "
            f"out_features={self.out_features}, bias={self.linear.bias is not None}, "
            f"reduction={self.reduction}, ignore_index={self.ignore_index}, "
            f"label_smoothing={self.label_smoothing}, options={self.options}"
        )
