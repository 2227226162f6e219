"""Maximum and mean over windows: `MaxPool1d`, `AvgPool1d` and their like, and those of any rank."""

from __future__ import annotations

from collections.abc import Sequence

from tracer.errors import ShapeError, TracerError
from tracer.extend import Array, TensorLike
from tracer_layers.convolution.windows import per_axis, spatial_rank
from tracer_layers.module.dtypes import floats
from tracer_layers.module.module import Module
from tracer_layers.module.rules import raw
from tracer_layers.pooling.maximum import MaximumOfWindows
from tracer_layers.pooling.mean import MeanOfWindows
from tracer_layers.pooling.pooled import pooled_windows
from tracer_layers.pooling.winners import places_of_winners

__all__ = [
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "AvgPoolNd",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MaxPoolNd",
]


def _padding(of: str, padding: int | Sequence[int], kernel: tuple[int, ...]) -> tuple[int, ...]:
    found = per_axis(f"{of} padding", padding, len(kernel), 0)
    if any(2 * p > k for p, k in zip(found, kernel, strict=True)):
        raise ShapeError(
            f"{of} padding is at most half of the kernel {list(kernel)}, got {list(found)}: a "
            f"window would hold nothing but padding"
        )
    return found


class MaxPoolNd(Module):
    """The maximum of windows over as many last axes as `kernel_size` has ints.

    With `return_indices` also where each was found, in the flattened last axes.
    """

    rank: int | None = None

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ):
        rank, of = spatial_rank(self, kernel_size), f"{type(self).__name__}'s"
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode
        kernel = per_axis(f"{of} kernel_size", kernel_size, rank, 1)
        self.options = {
            "kernel": kernel,
            "stride": per_axis(f"{of} stride", self.stride, rank, 1),
            "padding": _padding(of, padding, kernel),
            "dilation": per_axis(f"{of} dilation", dilation, rank, 1),
            "ceil_mode": ceil_mode,
        }

    def forward(self, input: TensorLike) -> TensorLike | tuple[TensorLike, Array]:
        input = floats(input)
        out = MaximumOfWindows(input, **self.options)
        if not self.return_indices:
            return out
        x = raw(input)
        return out, places_of_winners(x, raw(out), pooled_windows(x, **self.options))

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class AvgPoolNd(Module):
    """The mean of windows over as many last axes as `kernel_size` has ints."""

    rank: int | None = None

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ):
        rank, of = spatial_rank(self, kernel_size), f"{type(self).__name__}'s"
        if divisor_override == 0:
            raise TracerError("divisor_override is a number other than zero, or None")
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override
        kernel = per_axis(f"{of} kernel_size", kernel_size, rank, 1)
        self.options = {
            "kernel": kernel,
            "stride": per_axis(f"{of} stride", self.stride, rank, 1),
            "padding": _padding(of, padding, kernel),
            "ceil_mode": ceil_mode,
            "count_include_pad": count_include_pad,
            "divisor_override": divisor_override,
        }

    def forward(self, input: TensorLike) -> TensorLike:
        return MeanOfWindows(floats(input), **self.options)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxPool1d(MaxPoolNd):
    """`MaxPoolNd` over one axis: `[N, C, L]`."""

    rank = 1


class MaxPool2d(MaxPoolNd):
    """`MaxPoolNd` over two axes: `[N, C, H, W]`."""

    rank = 2


class MaxPool3d(MaxPoolNd):
    """`MaxPoolNd` over three axes: `[N, C, D, H, W]`."""

    rank = 3


class AvgPool1d(AvgPoolNd):
    """`AvgPoolNd` over one axis: `[N, C, L]`."""

    rank = 1

    def extra_repr(self) -> str:
        options = self.options
        return (
            f"kernel_size={options['kernel']}, stride={options['stride']}, "
            f"padding={options['padding']}"
        )


class AvgPool2d(AvgPoolNd):
    """`AvgPoolNd` over two axes: `[N, C, H, W]`."""

    rank = 2


class AvgPool3d(AvgPoolNd):
    """`AvgPoolNd` over three axes: `[N, C, D, H, W]`."""

    rank = 3
