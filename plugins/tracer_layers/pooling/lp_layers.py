"""The norm of windows: `LPPool1d`, `LPPool2d`, `LPPool3d`, and `LPPoolNd`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tracer.errors import TracerError
from tracer.extend import TensorLike, narrowed, widened
from tracer_layers.convolution.windows import per_axis, spatial_rank
from tracer_layers.module.dtypes import floats
from tracer_layers.module.module import Module
from tracer_layers.pooling.maximum import MaximumOfWindows
from tracer_layers.pooling.mean import MeanOfWindows

__all__ = ["LPPool1d", "LPPool2d", "LPPool3d", "LPPoolNd"]


class LPPoolNd(Module):
    """`(sum x^p)^(1/p)` over windows of as many last axes as `kernel_size` has ints.

    Signs stay inside the powers, as in PyTorch. The infinite norms are the largest and smallest
    absolute value. Where a sum is zero so is its gradient.
    """

    rank: int | None = None

    def __init__(
        self,
        norm_type: float,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        ceil_mode: bool = False,
    ):
        rank, of = spatial_rank(self, kernel_size), f"{type(self).__name__}'s"
        if norm_type == 0:
            raise TracerError(f"{type(self).__name__} expects norm_type other than zero")
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode
        kernel = per_axis(f"{of} kernel_size", kernel_size, rank, 1)
        self.options = {
            "kernel": kernel,
            "stride": kernel if stride is None else per_axis(f"{of} stride", stride, rank, 1),
            "padding": (0,) * rank,
            "ceil_mode": ceil_mode,
        }

    def forward(self, input: TensorLike) -> TensorLike:
        p, dtype = self.norm_type, (input := floats(input)).dtype
        input = widened(input)
        if math.isinf(p):
            sign, ones = math.copysign(1.0, p), (1,) * len(self.options["kernel"])
            most = MaximumOfWindows(sign * np.abs(input), dilation=ones, **self.options)
            return narrowed(sign * most, dtype)
        mean = MeanOfWindows(input**p, **self.options)
        reached = mean != 0
        total = np.where(reached, mean, 1) * math.prod(self.options["kernel"])
        return narrowed(np.where(reached, total ** (1 / p), 0), dtype)

    def extra_repr(self) -> str:
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )


class LPPool1d(LPPoolNd):
    """`LPPoolNd` over one axis: `[N, C, L]`."""

    rank = 1


class LPPool2d(LPPoolNd):
    """`LPPoolNd` over two axes: `[N, C, H, W]`."""

    rank = 2


class LPPool3d(LPPoolNd):
    """`LPPoolNd` over three axes: `[N, C, D, H, W]`."""

    rank = 3
