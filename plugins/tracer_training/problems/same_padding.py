"""Layers whose padding is TensorFlow's "same": as many outputs as `size / stride`, rounded up.

What is missing is padded half before and half after; where it is odd, one more after. PyTorch's
padding is the same on both sides, so that its windows lie elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable

import tracer_layers as nn
from tracer.extend import Generator, TensorLike
from tracer_layers.shape.padding import pad


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """How many elements are padded before and after an axis of `size`."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def around(sizes: Iterable[int], kernel: int, stride: int) -> list[int]:
    """The padding of several axes, as `pad` takes it: the last axis first."""
    pairs = [same_padding(size, kernel, stride) for size in sizes]
    return [count for pair in reversed(pairs) for count in pair]


class SameConv2d(nn.Conv2d):
    """A convolution over `[N, C, H, W]` with zeros around it."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        *,
        rng: Generator | None = None,
    ):
        super().__init__(in_channels, out_channels, kernel_size, stride, rng=rng)

    def forward(self, input: TensorLike) -> TensorLike:
        padding = around(input.shape[2:], self.kernel_size[0], self.stride[0])
        return super().forward(pad(input, padding) if any(padding) else input)


class SameMaxPool2d(nn.MaxPool2d):
    """The maximum of windows of `[N, C, H, W]`, which is not negative, as after a ReLU.

    What is padded is zero, as in DeepOBS; TensorFlow leaves it out of the maximum. After a ReLU
    that is no difference.
    """

    def forward(self, input: TensorLike) -> TensorLike:
        padding = around(input.shape[2:], self.options["kernel"][0], self.options["stride"][0])
        return super().forward(pad(input, padding) if any(padding) else input)


class SameConvTranspose2d(nn.ConvTranspose2d):
    """The transpose of a `SameConv2d`: sizes become `stride` times as large.

    Of all outputs, those are cut off that lie in the padding of that convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        *,
        rng: Generator | None = None,
    ):
        super().__init__(in_channels, out_channels, kernel_size, stride, rng=rng)

    def forward(self, input: TensorLike, output_size: None = None) -> TensorLike:
        kernel, stride = self.kernel_size[0], self.stride[0]
        wanted = [size * stride for size in input.shape[2:]]
        whole = super().forward(input)
        return pad(whole, [-count for count in around(wanted, kernel, stride)])
