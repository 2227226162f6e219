"""Linear maps: `Linear`, `Bilinear`, and the identity."""

from __future__ import annotations

from numpy.typing import DTypeLike

from tracer.errors import ShapeError
from tracer.extend import Generator, TensorLike
from tracer_layers.linear_maps.operations import LinearMap
from tracer_layers.module.arguments import at_least
from tracer_layers.module.dtypes import float_dtype, floats
from tracer_layers.module.initial import fan_in_bound, uniform
from tracer_layers.module.module import Module

__all__ = ["Bilinear", "Identity", "Linear", "bilinear", "linear"]


def linear(input: TensorLike, weight: TensorLike, bias: TensorLike | None = None) -> TensorLike:
    """`input @ weight.T + bias`: `[..., I]`, `[O, I]` and `[O]` give `[..., O]`."""
    input = floats(input, weight)
    return LinearMap(input, weight) if bias is None else LinearMap(input, weight, bias)


def bilinear(
    input1: TensorLike, input2: TensorLike, weight: TensorLike, bias: TensorLike | None = None
) -> TensorLike:
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
        device: object = None,
        dtype: DTypeLike | None = None,
        *,
        rng: Generator | None = None,
    ):
        at_least("Linear", 0, in_features=in_features, out_features=out_features)
        self.in_features = in_features
        self.out_features = out_features
        bound, dtype = fan_in_bound(in_features), float_dtype(dtype, device)
        self.weight = uniform((out_features, in_features), bound, dtype, rng)
        bias_values = uniform((out_features,), bound, dtype, rng) if bias else None
        self.register_parameter("bias", bias_values)

    def holds_samples(self, value: TensorLike) -> bool:
        """Not of a vector, which has features alone."""
        return value.ndim > 1 and super().holds_samples(value)

    def forward(self, input: TensorLike) -> TensorLike:
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
        device: object = None,
        dtype: DTypeLike | None = None,
        *,
        rng: Generator | None = None,
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

    def forward(self, input1: TensorLike, input2: TensorLike) -> TensorLike:
        return bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={self.bias is not None}"
        )


class Identity(Module):
    """Its input; any arguments are accepted and ignored."""

    def __init__(self, *arguments: object, **options: object):
        pass

    def forward(self, input: TensorLike) -> TensorLike:
        return input
