"""Linear maps: `Linear`, `Bilinear`, and the identity."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tracer import Operation, Outer, Summed, operation, samples_first
from tracer.errors import ShapeError
from tracer.parallel import product
from tracer_layers.dtypes import floats
from tracer_layers.initial import fan_in_bound, uniform
from tracer_layers.module import Module, float_dtype
from tracer_layers.rules import at_least, data_axis, mapped_axis


@operation("linear")
class LinearMap(Operation):
    """`x @ W.T + b`: `x [..., I]`, `W [O, *I]` with its last axes flattened, `b [O]` optional."""

    saves = ("inputs",)
    linear_in = (0, 1, 2)

    def forward(x, weight, bias=None):
        matrix = weight if weight.ndim == 2 else weight.reshape(len(weight), -1)
        outputs, inputs = matrix.shape
        if x.ndim == 0 or x.shape[-1] != inputs:
            raise ShapeError(
                f"expects inputs [..., {inputs}] for in_features={inputs}, "
                f"out_features={outputs}, got {list(x.shape)}: flatten or transpose the input, or "
                f"give the layer in_features={x.shape[-1] if x.ndim else 1}"
            )
        rows = x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), inputs)
        out = product(rows, matrix.T)
        if bias is not None:
            out = np.add(out, bias, out=out) if bias.dtype == out.dtype else out + bias
        return out if x.ndim == 2 else out.reshape(*x.shape[:-1], outputs)

    def vjp(node, g):
        x, weight, *_ = node.inputs
        inputs, outputs = x.shape[-1], g.shape[-1]

        def data():
            matrix = weight if weight.ndim == 2 else weight.reshape(outputs, inputs)
            return product(g.reshape(-1, outputs), matrix).reshape(len(g), *x.shape)

        def matrix():
            rows, columns = g, x
            if x.ndim != 2:
                rows = g.reshape(len(g), math.prod(x.shape[:-1]), outputs)
                columns = x.reshape(-1, inputs)
            rows = rows.swapaxes(1, 2)
            total = product(rows[0], columns) if len(g) == 1 else rows @ columns
            return total.reshape(len(g), *weight.shape)

        def bias():
            return g.sum(axis=tuple(range(1, g.ndim - 1)))

        return (data, matrix, bias)[: len(node.inputs)]

    def batch_axis(node, axes):
        return mapped_axis(data_axis(axes), len(node.shape), mixed=1)

    def parameter_cotangent(node, slot, g):
        outputs = g.shape[-1]
        right = samples_first(g, node.batch_axis, lead=1)
        rows, samples = right.shape[:2]
        uses = math.prod(right.shape[2:-1])
        if slot == 2:
            return Summed(right.reshape(rows, samples, uses, outputs))
        left = samples_first(node.inputs[0], node.batch_axes[0])
        return Outer(
            left.reshape(samples, uses, 1, left.shape[-1]),
            right.reshape(rows, samples, uses, 1, outputs),
            node.inputs[1].shape,
        )

    def flops(node):
        return 2 * math.prod(node.shape) * node.input_shape(0)[-1]

    def examples(rng):
        x, weight, bias = rng.random((3, 4)), rng.random((2, 4)), rng.random(2)
        return [
            ((x, weight, bias), {}),
            ((rng.random((3, 5, 4)), weight), {}),
            ((x, weight.reshape(2, 2, 2), bias), {}),
        ]


def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """`input @ weight.T + bias`: `[..., I]`, `[O, I]` and `[O]` give `[..., O]`."""
    input = floats(input, weight)
    return LinearMap(input, weight) if bias is None else LinearMap(input, weight, bias)


def bilinear(input1: Any, input2: Any, weight: Any, bias: Any = None) -> Any:
    """`y[..., o] = sum_ij input1[..., i] weight[o, i, j] input2[..., j] + bias[o]`."""
    _, first, second = weight.shape
    shapes = list(input1.shape), list(input2.shape)
    if shapes[0] != [*shapes[1][:-1], first] or shapes[1][-1:] != [second]:
        raise ShapeError(
            f"Bilinear(in1_features={first}, in2_features={second}) expects inputs "
            f"[..., {first}] and [..., {second}] with equal leading axes, got {shapes[0]} and "
            f"{shapes[1]}: transpose or reshape them"
        )
    input1, input2 = floats(input1, weight), floats(input2, weight)
    pairs = input1[..., :, None] * input2[..., None, :]
    return linear(pairs.reshape(*pairs.shape[:-2], first * second), weight, bias)


class Linear(Module):
    """`y = x @ weight.T + bias` on the last axis: `[..., in_features]` to `[..., out_features]`."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        rng: Any = None,
    ):
        at_least("Linear", 0, in_features=in_features, out_features=out_features)
        self.in_features = in_features
        self.out_features = out_features
        bound, dtype = fan_in_bound(in_features), float_dtype(dtype, device)
        self.weight = uniform((out_features, in_features), bound, dtype, rng)
        bias_values = uniform((out_features,), bound, dtype, rng) if bias else None
        self.register_parameter("bias", bias_values)

    def forward(self, input: Any) -> Any:
        return linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class Bilinear(Module):
    """`y[o] = x1 @ weight[o] @ x2 + bias[o]`; see `bilinear`."""

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        rng: Any = None,
    ):
        at_least("Bilinear", 1, in1_features=in1_features)
        at_least("Bilinear", 0, in2_features=in2_features, out_features=out_features)
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        bound, dtype = fan_in_bound(in1_features), float_dtype(dtype, device)
        self.weight = uniform((out_features, in1_features, in2_features), bound, dtype, rng)
        bias_values = uniform((out_features,), bound, dtype, rng) if bias else None
        self.register_parameter("bias", bias_values)

    def forward(self, input1: Any, input2: Any) -> Any:
        return bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={self.bias is not None}"
        )


class Identity(Module):
    """Its input; any arguments are accepted and ignored."""

    def __init__(self, *arguments: Any, **options: Any):
        pass

    def forward(self, input: Any) -> Any:
        return input
