"""`Unfold` and `Fold`: windows as columns, and columns added up to windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tracer.errors import ShapeError
from tracer.extend import TensorLike
from tracer_layers.convolution import windows as operations
from tracer_layers.convolution.windows import Windows, per_axis, windows
from tracer_layers.module.dtypes import floats
from tracer_layers.module.module import Module

__all__ = ["Fold", "Unfold", "fold", "unfold"]


def unfold(
    input: TensorLike,
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
) -> TensorLike:
    """`[N, C, *size]`, or `[C, *size]`, to `[N, C * kernel, windows]`.

    Over two axes, or as many as an argument has ints.
    """
    rank = _rank(kernel_size, dilation, padding, stride)
    if input.ndim not in (rank + 1, rank + 2):
        raise ShapeError(
            f"unfold over {rank} axes expects inputs with {rank + 2} axes, or {rank + 1} for one "
            f"sample, got {list(input.shape)}"
        )
    w, input = _windows(input.shape[-rank:], kernel_size, dilation, padding, stride), floats(input)
    seen = operations.Unfold(input, windows=w)
    *samples, channels = input.shape[: input.ndim - rank]
    return seen.reshape(*samples, channels * math.prod(w.kernel), math.prod(w.output))


def fold(
    input: TensorLike,
    output_size: int | Sequence[int],
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
) -> TensorLike:
    """`[N, C * kernel, windows]` to `[N, C, *output_size]`; without N for one sample."""
    rank = _rank(output_size, kernel_size, dilation, padding, stride)
    size = per_axis("output_size", output_size, rank, 1)
    w = _windows(size, kernel_size, dilation, padding, stride)
    elements, count = math.prod(w.kernel), math.prod(w.output)
    if input.ndim not in (2, 3) or input.shape[-2] % elements or input.shape[-1] != count:
        raise ShapeError(
            f"fold expects inputs [N, C * {elements}, {count}] for a kernel {list(w.kernel)} and "
            f"{list(w.output)} windows in an output {list(size)}, got {list(input.shape)}"
        )
    *samples, rows, _ = input.shape
    split = floats(input).reshape(*samples, rows // elements, *w.kernel, *w.output)
    return operations.Fold(split, windows=w)


def _rank(*arguments: Any) -> int:
    """As many axes as an argument has ints, else two."""
    return next((len(a) for a in arguments if not isinstance(a, int)), 2)


def _windows(
    size: Sequence[int],
    kernel: int | Sequence[int],
    dilation: int | Sequence[int],
    padding: int | Sequence[int],
    stride: int | Sequence[int],
) -> Windows:
    rank = len(size)
    return windows(
        tuple(size),
        per_axis("kernel_size", kernel, rank, 1),
        per_axis("stride", stride, rank, 1),
        tuple((p, p) for p in per_axis("padding", padding, rank, 0)),
        per_axis("dilation", dilation, rank, 1),
    )


class Unfold(Module):
    """Windows as columns; see `unfold`."""

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        dilation: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        stride: int | Sequence[int] = 1,
    ):
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, input: TensorLike) -> TensorLike:
        return unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}, "
            f"stride={self.stride}"
        )


class Fold(Module):
    """Columns added up to windows; see `fold`."""

    def __init__(
        self,
        output_size: int | Sequence[int],
        kernel_size: int | Sequence[int],
        dilation: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        stride: int | Sequence[int] = 1,
    ):
        self.output_size = output_size
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, input: TensorLike) -> TensorLike:
        return fold(
            input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride
        )

    def extra_repr(self) -> str:
        return (
            f"output_size={self.output_size}, kernel_size={self.kernel_size}, "
            f"dilation={self.dilation}, padding={self.padding}, stride={self.stride}"
        )
