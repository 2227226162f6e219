"""Convolutions that find out the number of channels of their inputs in their first call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tracer.extend import TensorLike
from tracer_layers.convolution.layers import Conv1d, Conv2d, Conv3d
from tracer_layers.convolution.transposed_layers import (
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
)
from tracer_layers.module.lazy import Lazy, waiting

__all__ = [
    "LazyConv1d",
    "LazyConv2d",
    "LazyConv3d",
    "LazyConvTranspose1d",
    "LazyConvTranspose2d",
    "LazyConvTranspose3d",
]


class _LazyChannels(Lazy):
    """What the layers of this file share: `in_channels`, on the axis before the spatial ones."""

    size = "in_channels"
    rank: int

    def size_of_input(self, input: TensorLike) -> int:
        return input.shape[-self.rank - 1]


class _LazyConv(_LazyChannels):
    def size_of_state(self, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
        return shapes["weight"][1] * self.given.get("groups", 1) if "weight" in shapes else None


class _LazyConvTranspose(_LazyChannels):
    def forward(self, input: TensorLike, output_size: Sequence[int] | None = None) -> TensorLike:
        return super().forward(input, output_size)

    def size_of_state(self, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
        return shapes["weight"][0] if "weight" in shapes else None


class LazyConv1d(_LazyConv, Conv1d):
    """`Conv1d` with the channels of its first input for `in_channels`."""

    becomes = Conv1d
    __init__ = waiting(Conv1d, "in_channels", "weight")


class LazyConv2d(_LazyConv, Conv2d):
    """`Conv2d` with the channels of its first input for `in_channels`."""

    becomes = Conv2d
    __init__ = waiting(Conv2d, "in_channels", "weight")


class LazyConv3d(_LazyConv, Conv3d):
    """`Conv3d` with the channels of its first input for `in_channels`."""

    becomes = Conv3d
    __init__ = waiting(Conv3d, "in_channels", "weight")


class LazyConvTranspose1d(_LazyConvTranspose, ConvTranspose1d):
    """`ConvTranspose1d` with the channels of its first input for `in_channels`."""

    becomes = ConvTranspose1d
    __init__ = waiting(ConvTranspose1d, "in_channels", "weight")


class LazyConvTranspose2d(_LazyConvTranspose, ConvTranspose2d):
    """`ConvTranspose2d` with the channels of its first input for `in_channels`."""

    becomes = ConvTranspose2d
    __init__ = waiting(ConvTranspose2d, "in_channels", "weight")


class LazyConvTranspose3d(_LazyConvTranspose, ConvTranspose3d):
    """`ConvTranspose3d` with the channels of its first input for `in_channels`."""

    becomes = ConvTranspose3d
    __init__ = waiting(ConvTranspose3d, "in_channels", "weight")
