"""`ConvTranspose1d`, `2d`, `3d`, and `ConvTransposeNd` for any number of spatial axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from numpy.typing import DTypeLike

from tracer.errors import ShapeError, TracerError
from tracer.extend import Generator, TensorLike
from tracer_layers.convolution.layers import check_channels
from tracer_layers.convolution.operations import ConvolutionTranspose
from tracer_layers.convolution.windows import per_axis, spatial_rank, windows
from tracer_layers.module.dtypes import float_dtype, floats
from tracer_layers.module.initial import fan_in_bound, uniform
from tracer_layers.module.module import Module

__all__ = [
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "ConvTransposeNd",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
]


def conv_transpose(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> TensorLike:
    """`[N, I, *size]`, or `[I, *size]` for one sample, with a weight `[I, O/groups, *kernel]`.

    The transpose of a convolution of the same `stride`, `padding`, `dilation` and `groups`;
    `output_padding` chooses among the sizes that such a convolution takes to the input's.
    """
    rank = weight.ndim - 2
    stride = per_axis("stride", stride, rank, 1)
    padding = per_axis("padding", padding, rank, 0)
    dilation = per_axis("dilation", dilation, rank, 1)
    extra = per_axis("output_padding", output_padding, rank, 0)
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise ShapeError(
            f"output_padding is smaller than the stride {list(stride)} or the dilation "
            f"{list(dilation)}, got {list(extra)}"
        )
    if input.ndim not in (rank + 1, rank + 2):
        raise ShapeError(
            f"a transposed convolution with a weight {list(weight.shape)} expects inputs with "
            f"{rank + 2} axes, or {rank + 1} for one sample, got {list(input.shape)}"
        )
    before = input.shape[input.ndim - rank :]
    least = _least_sizes(before, weight.shape[2:], stride, padding, dilation)
    size = tuple(n + e for n, e in zip(least, extra, strict=True))
    if min((*before, *size)) < 1:
        raise ShapeError(
            f"a transposed convolution of sizes {list(before)} with a kernel "
            f"{list(weight.shape[2:])} and padding {list(padding)} would have the sizes "
            f"{list(size)}: use less padding or a larger input"
        )
    # less padding behind, so that a convolution of this size has no place for one window more
    pairs = tuple((p, p - e) for p, e in zip(padding, extra, strict=True))
    input, alone = floats(input, weight), input.ndim == rank + 1
    inputs = (input[None] if alone else input, weight, *(() if bias is None else (bias,)))
    w = windows(size, tuple(weight.shape[2:]), stride, pairs, dilation)
    out = ConvolutionTranspose(*inputs, windows=w, groups=groups)
    return out[0] if alone else out


conv_transpose1d = conv_transpose2d = conv_transpose3d = conv_transpose


def _least_sizes(
    before: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> tuple[int, ...]:
    """The spatial sizes without output padding."""
    return tuple(
        (n - 1) * s - 2 * p + d * (k - 1) + 1
        for n, k, s, p, d in zip(before, kernel, stride, padding, dilation, strict=True)
    )


class ConvTransposeNd(Module):
    """Transposed convolution over as many spatial axes as `kernel_size` has ints.

    Takes `[N, in_channels, *size]`, or `[in_channels, *size]` for one sample. Arguments, defaults
    and initial values are those of `torch.nn.ConvTranspose2d`.
    """

    rank: int | None = None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        output_padding: int | Sequence[int] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | Sequence[int] = 1,
        padding_mode: str = "zeros",
        device: object = None,
        dtype: DTypeLike | None = None,
        *,
        rng: Generator | None = None,
    ):
        rank, of = spatial_rank(self, kernel_size), f"{type(self).__name__}'s"
        check_channels(self, in_channels, out_channels, groups)
        if padding_mode != "zeros":
            raise TracerError(
                f"{type(self).__name__} expects padding_mode='zeros', got {padding_mode!r}"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = per_axis(f"{of} kernel_size", kernel_size, rank, 1)
        self.stride = per_axis(f"{of} stride", stride, rank, 1)
        self.padding = per_axis(f"{of} padding", padding, rank, 0)
        self.output_padding = per_axis(f"{of} output_padding", output_padding, rank, 0)
        self.dilation = per_axis(f"{of} dilation", dilation, rank, 1)
        self.groups = groups
        self.padding_mode = padding_mode
        shape = (in_channels, out_channels // groups, *self.kernel_size)
        bound, dtype = fan_in_bound(math.prod(shape[1:])), float_dtype(dtype, device)
        self.weight = uniform(shape, bound, dtype, rng)
        bias_values = uniform((out_channels,), bound, dtype, rng) if bias else None
        self.register_parameter("bias", bias_values)

    def forward(self, input: TensorLike, output_size: Sequence[int] | None = None) -> TensorLike:
        extra = self.output_padding if output_size is None else self._extra(input, output_size)
        return conv_transpose(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            extra,
            self.groups,
            self.dilation,
        )

    def _extra(self, input: TensorLike, output_size: Sequence[int]) -> tuple[int, ...]:
        """The output padding that gives `output_size`."""
        rank = len(self.kernel_size)
        wanted = tuple(output_size)[-rank:]
        before = input.shape[input.ndim - rank :]
        least = _least_sizes(before, self.kernel_size, self.stride, self.padding, self.dilation)
        extra = tuple(n - m for n, m in zip(wanted, least, strict=True))
        if any(not 0 <= e < s for e, s in zip(extra, self.stride, strict=True)):
            most = [m + s - 1 for m, s in zip(least, self.stride, strict=True)]
            raise ShapeError(
                f"{type(self).__name__} expects output_size from {list(least)} to {most} for an "
                f"input {list(input.shape)}, got {list(output_size)}"
            )
        return extra

    def extra_repr(self) -> str:
        ones, zeros = (1,) * len(self.stride), (0,) * len(self.stride)
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
            + (f", padding={self.padding}" if self.padding != zeros else "")
            + (f", dilation={self.dilation}" if self.dilation != ones else "")
            + (f", output_padding={self.output_padding}" if self.output_padding != zeros else "")
            + (f", groups={self.groups}" if self.groups != 1 else "")
            + (", bias=False" if self.bias is None else "")
        )


class ConvTranspose1d(ConvTransposeNd):
    """`ConvTransposeNd` over one axis: `[N, C, L]`."""

    rank = 1


class ConvTranspose2d(ConvTransposeNd):
    """`ConvTransposeNd` over two axes: `[N, C, H, W]`."""

    rank = 2


class ConvTranspose3d(ConvTransposeNd):
    """`ConvTransposeNd` over three axes: `[N, C, D, H, W]`."""

    rank = 3
