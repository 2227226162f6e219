"""Convolutions and their transposes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tracer.extend import TensorLike
from tracer_import.operators.context import sizes
from tracer_import.operators.table import operator
from tracer_layers import functional

Sizes = Sequence[int] | int

FORWARD = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
TRANSPOSED = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


def _each(value: Any, rank: int) -> Any:
    """An int for each axis; a text as it is."""
    if isinstance(value, str):
        return value
    given = (value,) if isinstance(value, int) else sizes(value)
    return given * rank if len(given) == 1 else given


@operator(
    *("conv1d.default", "conv2d.default", "conv3d.default"),
    *("conv1d.padding", "conv2d.padding", "conv3d.padding"),
)
def convolution(
    input: TensorLike, weight: TensorLike, bias: TensorLike | None = None, stride: Sizes = 1,
    padding: Sizes | str = 0, dilation: Sizes = 1, groups: int = 1,
) -> TensorLike:  # fmt: skip
    """The convolution with a weight `[O, C/groups, *kernel]`."""
    rank = weight.ndim - 2
    stride, padding, dilation = (_each(value, rank) for value in (stride, padding, dilation))
    return FORWARD[rank](input, weight, bias, stride, padding, dilation, groups)


@operator("conv_transpose1d.default", "conv_transpose2d.input", "conv_transpose3d.input")
def convolution_transpose(
    input: TensorLike, weight: TensorLike, bias: TensorLike | None = None, stride: Sizes = 1,
    padding: Sizes = 0, output_padding: Sizes = 0, groups: int = 1, dilation: Sizes = 1,
) -> TensorLike:  # fmt: skip
    """Its transpose by the input."""
    rank = weight.ndim - 2
    stride, padding, output_padding, dilation = (
        _each(value, rank) for value in (stride, padding, output_padding, dilation)
    )
    return TRANSPOSED[rank](input, weight, bias, stride, padding, output_padding, groups, dilation)


@operator("convolution.default")
def any_convolution(
    input: TensorLike, weight: TensorLike, bias: TensorLike | None, stride: Sizes, padding: Sizes,
    dilation: Sizes, transposed: bool, output_padding: Sizes, groups: int,
) -> TensorLike:  # fmt: skip
    """Either of both, as core ATen writes them."""
    if transposed:
        return convolution_transpose(
            input, weight, bias, stride, padding, output_padding, groups, dilation
        )
    return convolution(input, weight, bias, stride, padding, dilation, groups)
