"""Channels traded for positions, and channels among groups: reshapes and transpositions."""

from __future__ import annotations

import numpy as np

from tracer.errors import ShapeError
from tracer.extend import TensorLike
from tracer_layers.module.arguments import at_least
from tracer_layers.module.module import Module

__all__ = [
    "ChannelShuffle",
    "PixelShuffle",
    "PixelUnshuffle",
    "channel_shuffle",
    "native_channel_shuffle",
    "pixel_shuffle",
    "pixel_unshuffle",
]


def pixel_shuffle(input: TensorLike, upscale_factor: int) -> TensorLike:
    """`[..., C r^2, H, W]` to `[..., C, H r, W r]` (Shi et al. 2016)."""
    at_least("pixel_shuffle", 1, upscale_factor=upscale_factor)
    r, square = upscale_factor, upscale_factor**2
    if input.ndim < 3 or input.shape[-3] % square:
        raise ShapeError(
            f"pixel_shuffle expects inputs [..., C * {square}, H, W] for upscale_factor={r}, got "
            f"{list(input.shape)}"
        )
    *lead, channels, height, width = input.shape
    apart = input.reshape(*lead, channels // square, r, r, height, width)
    apart = np.moveaxis(apart, (-4, -3), (-3, -1))
    return apart.reshape(*lead, channels // square, height * r, width * r)


def pixel_unshuffle(input: TensorLike, downscale_factor: int) -> TensorLike:
    """`[..., C, H r, W r]` to `[..., C r^2, H, W]`: the inverse of `pixel_shuffle`."""
    at_least("pixel_unshuffle", 1, downscale_factor=downscale_factor)
    r = downscale_factor
    if input.ndim < 3 or input.shape[-1] % r or input.shape[-2] % r:
        raise ShapeError(
            f"pixel_unshuffle expects inputs [..., C, H, W] with H and W that "
            f"downscale_factor={r} divides, got {list(input.shape)}"
        )
    *lead, channels, height, width = input.shape
    apart = input.reshape(*lead, channels, height // r, r, width // r, r)
    apart = np.moveaxis(apart, (-3, -1), (-4, -3))
    return apart.reshape(*lead, channels * r * r, height // r, width // r)


def channel_shuffle(input: TensorLike, groups: int) -> TensorLike:
    """The channels of `[N, C, ...]`, those of all groups in turns (Zhang et al. 2018)."""
    at_least("channel_shuffle", 1, groups=groups)
    if input.ndim < 3 or input.shape[1] % groups:
        raise ShapeError(
            f"channel_shuffle expects inputs [N, C, ...] with positions and channels that "
            f"{groups} groups divide, got {list(input.shape)}"
        )
    samples, channels, *size = input.shape
    apart = input.reshape(samples, groups, channels // groups, *size)
    return np.swapaxes(apart, 1, 2).reshape(samples, channels, *size)


def native_channel_shuffle(input: TensorLike, groups: int) -> TensorLike:
    """`channel_shuffle`; PyTorch has a kernel of its own for it."""
    return channel_shuffle(input, groups)


class PixelShuffle(Module):
    """Channels to positions; see `pixel_shuffle`."""

    def __init__(self, upscale_factor: int):
        at_least("PixelShuffle", 1, upscale_factor=upscale_factor)
        self.upscale_factor = upscale_factor

    def forward(self, input: TensorLike) -> TensorLike:
        return pixel_shuffle(input, self.upscale_factor)

    def extra_repr(self) -> str:
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """Positions to channels; see `pixel_unshuffle`."""

    def __init__(self, downscale_factor: int):
        at_least("PixelUnshuffle", 1, downscale_factor=downscale_factor)
        self.downscale_factor = downscale_factor

    def forward(self, input: TensorLike) -> TensorLike:
        return pixel_unshuffle(input, self.downscale_factor)

    def extra_repr(self) -> str:
        return f"downscale_factor={self.downscale_factor}"


class ChannelShuffle(Module):
    """Channels among groups; see `channel_shuffle`."""

    def __init__(self, groups: int):
        at_least("ChannelShuffle", 1, groups=groups)
        self.groups = groups

    def forward(self, input: TensorLike) -> TensorLike:
        return channel_shuffle(input, self.groups)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"
