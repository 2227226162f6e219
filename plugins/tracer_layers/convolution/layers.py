"""`Conv1d`, `Conv2d`, `Conv3d`, and `ConvNd` for any number of spatial axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from tracer.errors import ShapeError, TracerError
from tracer.extend import Generator, TensorLike
from tracer_layers.convolution.operations import Convolution
from tracer_layers.convolution.windows import Pairs, per_axis, spatial_rank
from tracer_layers.module.arguments import at_least
from tracer_layers.module.dtypes import float_dtype, floats
from tracer_layers.module.initial import fan_in_bound, uniform
from tracer_layers.module.module import Module
from tracer_layers.shape.padding import pad

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvNd", "conv1d", "conv2d", "conv3d", "conv_tbc"]

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


def convolution(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> TensorLike:
    """`[N, C, *size]`, or `[C, *size]` for one sample, with a weight `[O, C/groups, *kernel]`."""
    rank = weight.ndim - 2
    stride, dilation = per_axis("stride", stride, rank, 1), per_axis("dilation", dilation, rank, 1)
    pairs = padding_pairs(padding, weight.shape[2:], stride, dilation)
    return _convolve(input, weight, bias, stride, pairs, dilation, groups)


conv1d = conv2d = conv3d = convolution


def conv_tbc(input: TensorLike, weight: TensorLike, bias: TensorLike, pad: int = 0) -> TensorLike:
    """`conv1d` of sequences `[T, N, I]` with a weight `[kernel, I, O]`, which gives `[T, N, O]`."""
    if input.ndim != 3 or weight.ndim != 3:
        raise ShapeError(
            f"conv_tbc expects an input [T, N, I] and a weight [kernel, I, O], got "
            f"{list(input.shape)} and {list(weight.shape)}"
        )
    by_channel = np.transpose(input, (1, 2, 0)), np.transpose(weight, (2, 1, 0))
    return np.transpose(convolution(*by_channel, bias, padding=pad), (2, 0, 1))


def _convolve(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None,
    stride: tuple[int, ...],
    padding: Pairs,
    dilation: tuple[int, ...],
    groups: int,
) -> TensorLike:
    input, alone = floats(input, weight), input.ndim == len(stride) + 1
    inputs = (input[None] if alone else input, weight, *(() if bias is None else (bias,)))
    out = Convolution(*inputs, stride=stride, padding=padding, dilation=dilation, groups=groups)
    return out[0] if alone else out


def padding_pairs(
    padding: int | Sequence[int] | str,
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> Pairs:
    """The padding before and after each spatial axis; `"same"` keeps the size, at stride 1."""
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding == "same":
        if any(s != 1 for s in stride):
            raise ShapeError(
                f'padding="same" expects stride 1, got {tuple(stride)}: give the padding as ints'
            )
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return tuple((t // 2, t - t // 2) for t in total)
    if isinstance(padding, str):
        raise ShapeError(f'padding is "same", "valid" or ints, got {padding!r}')
    return tuple((p, p) for p in per_axis("padding", padding, len(kernel), 0))


def check_channels(layer: object, in_channels: int, out_channels: int, groups: int) -> None:
    """Refuse groups that do not divide the channels, and numbers that are none."""
    name = type(layer).__name__
    at_least(name, 1, in_channels=in_channels, out_channels=out_channels, groups=groups)
    if in_channels % groups or out_channels % groups:
        raise TracerError(
            f"{name} expects groups that divides both channel counts, got groups={groups}, "
            f"in_channels={in_channels}, out_channels={out_channels}"
        )


class ConvNd(Module):
    """Convolution over as many spatial axes as `kernel_size` has ints.

    Takes `[N, in_channels, *size]`, or `[in_channels, *size]` for one sample. Arguments, defaults
    and initial values are those of `torch.nn.Conv2d`.
    """

    rank: int | None = None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: object = None,
        dtype: DTypeLike | None = None,
        *,
        rng: Generator | None = None,
    ):
        rank, of = spatial_rank(self, kernel_size), f"{type(self).__name__}'s"
        check_channels(self, in_channels, out_channels, groups)
        if padding_mode not in PADDING_MODES:
            raise TracerError(
                f"{type(self).__name__} expects padding_mode as one of "
                f"{', '.join(PADDING_MODES)}, got {padding_mode!r}"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = per_axis(f"{of} kernel_size", kernel_size, rank, 1)
        self.stride = per_axis(f"{of} stride", stride, rank, 1)
        self.dilation = per_axis(f"{of} dilation", dilation, rank, 1)
        self.padding = (
            padding if isinstance(padding, str) else per_axis(f"{of} padding", padding, rank, 0)
        )
        self.pairs = padding_pairs(padding, self.kernel_size, self.stride, self.dilation)
        self.groups = groups
        self.padding_mode = padding_mode
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        bound, dtype = fan_in_bound(math.prod(shape[1:])), float_dtype(dtype, device)
        self.weight = uniform(shape, bound, dtype, rng)
        bias_values = uniform((out_channels,), bound, dtype, rng) if bias else None
        self.register_parameter("bias", bias_values)

    def forward(self, input: TensorLike) -> TensorLike:
        pairs = self.pairs
        if self.padding_mode != "zeros":
            around = [p for pair in reversed(pairs) for p in pair]
            input = pad(input, around, self.padding_mode)
            pairs = ((0, 0),) * len(pairs)
        return _convolve(
            input, self.weight, self.bias, self.stride, pairs, self.dilation, self.groups
        )

    def extra_repr(self) -> str:
        ones = (1,) * len(self.stride)
        padding = "" if self.padding == tuple(0 for _ in ones) else f", padding={self.padding}"
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}{padding}"
            + (f", dilation={self.dilation}" if self.dilation != ones else "")
            + (f", groups={self.groups}" if self.groups != 1 else "")
            + (", bias=False" if self.bias is None else "")
            + (f", padding_mode={self.padding_mode}" if self.padding_mode != "zeros" else "")
        )


class Conv1d(ConvNd):
    """`ConvNd` over one axis: `[N, C, L]`."""

    rank = 1


class Conv2d(ConvNd):
    """`ConvNd` over two axes: `[N, C, H, W]`."""

    rank = 2


class Conv3d(ConvNd):
    """`ConvNd` over three axes: `[N, C, D, H, W]`."""

    rank = 3
