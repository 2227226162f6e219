"""The base of losses, and what their rules share."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracer import Operation, Tensor
from tracer.errors import BatchError, QuantityError, ShapeError, TracerError, TracingError
from tracer.extend import (
    Array,
    Axis,
    Convertible,
    DType,
    Generator,
    Node,
    Stack,
    TensorLike,
    backend,
    narrowed,
    widened,
    without_torch,
)
from tracer_layers.module.dtypes import WIDE, floats
from tracer_layers.module.module import Module
from tracer_layers.module.rules import raw

#: all rows, or positions
EVERY = slice(None)


class Loss(Operation):
    """A loss `forward(prediction, target, ...)`: unreduced, as with PyTorch's `reduction="none"`.

    Besides `vjp` (of the prediction and, where it makes sense, of the target) it has
    `sqrt_hessian`, `sqrt_hessian_sampled` and their kin: see `tracer.Operation`.
    """

    loss = True
    saves = ("inputs",)

    @staticmethod
    def batch_axis(node: Any, axes: Sequence[Axis]) -> Axis:
        """Of the prediction, less the axis of classes where the loss has none."""
        axis = axes[0]
        if not isinstance(axis, int) or len(node.shape) == len(node.input_shape(0)):
            return axis if isinstance(axis, int) else 0
        if axis == 1:
            raise BatchError(
                f"{node.op.name} expects classes on axis 1 of its prediction "
                f"{list(node.input_shape(0))}, where the samples are: move the samples with "
                f"np.moveaxis(prediction, 1, 0), and the target's alike"
            )
        return axis - (axis > 1)

    @staticmethod
    def row_counts(node: Any) -> dict[str, int]:
        """How many rows the rules make: here one for each element of a sample's prediction."""
        shape, axis = node.input_shape(0), sample_axis(node)
        return {"sqrt_hessian": math.prod(n for i, n in enumerate(shape) if i != axis)}


def sample_axis(node: Node) -> int:
    """Where the samples are in the prediction: where the engine says, else its first axis."""
    axis = getattr(node, "batch_axes", (0,))[0]
    return axis if isinstance(axis, int) else 0


def each_position(x: Array, *kept: int, some: slice = EVERY) -> Array:
    """Masks `[P, *x.shape]`, one per position along the axes that are not `kept`, of size 1.

    Of `some` positions alone, if they are given.
    """
    kept = tuple(axis % x.ndim for axis in kept if x.ndim)
    shape = [1 if i in kept else size for i, size in enumerate(x.shape)]
    count = math.prod(shape)
    if some == EVERY:
        return backend.namespace(raw(x)).eye(count, dtype=bool).reshape(count, *shape)
    positions = backend.namespace(raw(x)).arange(count)
    return (positions[some, None] == positions).reshape(-1, *shape)


def diagonal(h: Array, node: Node, rows: slice = EVERY) -> Stack:
    """The square root of a diagonal Hessian `h` of the prediction's shape: a row per element.

    Of these, some `rows`.
    """
    only_prediction(node)
    x = node.inputs[0]
    h = np.broadcast_to(h, x.shape)
    return np.where(each_position(x, sample_axis(node), some=rows), np.sqrt(h), 0)


def standard_normal(node: Node, samples: int, rng: Generator) -> Stack:
    """`[M, *prediction.shape]` of independent standard normal numbers."""
    x = node.inputs[0]
    return from_host(rng.standard_normal((samples, *x.shape)), x)


def from_host(values: Array, x: Array) -> Array:
    """Values of the host, or that were drawn beside `x`, in the library and dtype of `x`."""
    return backend.of(x).from_host(values.astype(x.dtype))


def only_prediction(node: Node) -> None:
    """Refuse Gauss-Newton quantities where more than the prediction depends on parameters."""
    for slot, parent in enumerate(node.parents):
        if slot and parent is not None and parent.wants:
            raise QuantityError(
                f"the Gauss-Newton matrix of {node.op.name} is defined by its prediction alone, "
                f"but its input {slot} depends on parameters, too: detach it with "
                f"tensor.detach()"
            )


def same_shape(prediction: TensorLike, target: TensorLike) -> None:
    """Refuse a target that is not of the prediction's shape."""
    if prediction.shape != target.shape:
        raise ShapeError(
            f"expects a target of the prediction's shape {list(prediction.shape)}, got "
            f"{list(target.shape)}: reshape one of them"
        )


def arrays(loss: str, *, input: Convertible, **others: Convertible) -> list[Any]:
    """What a loss is given, lists and numbers as arrays; of floats, in the input's dtype.

    None stays of weights alone. Raises `TracingError` for anything else.
    """
    if "torch" in sys.modules:
        input, others = without_torch(input), without_torch(others)
    given = [input if hasattr(input, "dtype") else _as_array(loss, "input", input)]
    for name, value in others.items():
        if not hasattr(value, "dtype") and (value is not None or "weight" not in name):
            value = _as_array(loss, name, value)
            if value.dtype.kind == given[0].dtype.kind == "f":
                value = value.astype(given[0].dtype)
        given.append(value)
    return given


def _as_array(loss: str, name: str, value: Convertible) -> TensorLike:
    if isinstance(value, list | tuple) and any(isinstance(each, Tensor) for each in value):
        raise TracingError(
            f"{loss} expects an array as {name}, got a {type(value).__name__} with tensors: give "
            f"one of them, as model(x)[0] of a model that returns several, or put them together "
            f"with tracer.array"
        )
    if isinstance(value, list | tuple | int | float):
        return backend.as_array(value)
    kind = "None" if value is None else f"a {type(value).__name__}"
    raise TracingError(f"{loss} expects an array as {name}, got {kind}")


def compared(prediction: TensorLike, *others: TensorLike) -> tuple[TensorLike, ...]:
    """What a loss is computed of, in float dtypes: half precision in float32; see `reduced`.

    Ints and bools, as of targets, take the dtype of the prediction. None and numbers stay.
    """
    if prediction.dtype.char not in WIDE:
        prediction = widened(floats(prediction, *others))
    return prediction, *[floats(x, prediction) if hasattr(x, "dtype") else x for x in others]


def reduced(
    losses: TensorLike, reduction: str, dtype: DType, count: Array | float | None = None
) -> TensorLike:
    """Mean, sum or none, in half precision if that is the prediction's `dtype`.

    `count` replaces the number of losses as the divisor of the mean.
    """
    if reduction == "mean":
        mean = losses.mean()  # which the record then shows it to be
        return narrowed(mean if count is None else mean * (losses.size / count), dtype)
    if reduction == "sum":
        return narrowed(losses.sum(), dtype)
    if reduction == "none":
        return narrowed(losses, dtype)
    raise TracerError(f'reduction is "mean", "sum" or "none", got {reduction!r}')


def weighted(
    loss: str,
    losses: TensorLike,
    weight: TensorLike | None,
    reduction: str,
    dtype: DType,
    by_weight: bool = False,
) -> TensorLike:
    """`reduced` losses times constant weights of their shape; the mean may be `by_weight`."""
    if weight is None:
        return reduced(losses, reduction, dtype)
    constant_weight(loss, weight)
    if weight.shape != losses.shape:
        raise ShapeError(
            f"{loss} expects weights of the shape {list(losses.shape)}, got {list(weight.shape)}"
        )
    weight = floats(weight, losses)
    count = widened(raw(weight)).sum() if by_weight else None
    return reduced(losses * weight, reduction, dtype, count)


def constant_weight(loss: str, weight: TensorLike | None) -> None:
    """Refuse weights that depend on parameters."""
    node = getattr(weight, "node", None)
    if node is not None and node.wants:
        raise TracerError(
            f"{loss} expects weights that are constants, got a tensor that depends on parameters: "
            f"detach it with tensor.detach()"
        )


def refuse_deprecated(loss: str, size_average: object, reduce: object) -> None:
    """Refuse PyTorch's old arguments. They have their places, so that no other is meant by them."""
    if size_average is not None or reduce is not None:
        raise TracerError(
            f"{loss} expects reduction= in place of size_average and reduce, which PyTorch has "
            f"deprecated: give it by name"
        )


class LossModule(Module):
    """What modules of losses share: the reduction, and torch's deprecated arguments refused."""

    def __init__(self, size_average: object = None, reduce: object = None, reduction: str = "mean"):
        refuse_deprecated(type(self).__name__, size_average, reduce)
        if reduction not in ("mean", "sum", "none"):
            raise TracerError(f'reduction is "mean", "sum" or "none", got {reduction!r}')
        self.reduction = reduction
