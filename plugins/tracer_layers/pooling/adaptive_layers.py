"""Means and maxima over as many windows as asked for, whatever the input's size."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from tracer.errors import ShapeError, TracerError
from tracer.extend import Array, TensorLike, backend
from tracer_layers.module.arguments import axes_of
from tracer_layers.module.dtypes import floats
from tracer_layers.module.module import Module
from tracer_layers.module.rules import raw
from tracer_layers.pooling.mean import MeanOfWindows
from tracer_layers.shape.resampling import Resample, bounds, mean_taps

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveAvgPoolNd",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AdaptiveMaxPoolNd",
]


def adaptive_avg_pool(input: TensorLike, output_size: Sequence[int | None]) -> TensorLike:
    """The mean over each of `output_size` windows of the last axes; None keeps a size."""
    sizes, input = _sizes(input, output_size), floats(input)
    old = input.shape[input.ndim - len(sizes) :]
    if all(n % size == 0 for n, size in zip(old, sizes, strict=True)):
        kernel = tuple(n // size for n, size in zip(old, sizes, strict=True))
        options = {"padding": (0,) * len(sizes), "ceil_mode": False}
        return MeanOfWindows(input, kernel=kernel, stride=kernel, **options)
    for i, (before, after) in enumerate(zip(old, sizes, strict=True)):
        input = Resample(input, taps=mean_taps(before, after), axis=i - len(sizes))
    return input


def adaptive_max_pool(
    input: TensorLike, output_size: Sequence[int | None]
) -> tuple[TensorLike, Array]:
    """The maximum over each of `output_size` windows, and where in the flattened axes it was."""
    sizes, input = _sizes(input, output_size), floats(input)
    lead, old = input.shape[: input.ndim - len(sizes)], input.shape[input.ndim - len(sizes) :]
    places = _winners(raw(input), old, sizes).reshape(*lead, math.prod(sizes))
    flat = input.reshape(*lead, math.prod(old))
    picked = np.take_along_axis(flat, places, -1)
    return picked.reshape(*lead, *sizes), places.reshape(*lead, *sizes)


def _winners(x: Array, old: tuple[int, ...], sizes: tuple[int, ...]) -> Array:
    """`[..., windows]`: the position in the flattened axes of each window's first maximum."""
    lead, found = x.shape[: x.ndim - len(old)], []
    numbers = backend.of(x).constant(np.arange, math.prod(old)).reshape(old)
    along = [bounds(n, size) for n, size in zip(old, sizes, strict=True)]
    for window in itertools.product(*along):
        seen = tuple(slice(*bound) for bound in window)
        inside = numbers[seen].reshape(-1)
        first = np.argmax(x[(..., *seen)].reshape(*lead, inside.size), axis=-1)
        found.append(inside[first])
    return np.stack(found, axis=-1)


def _sizes(input: TensorLike, output_size: Sequence[int | None]) -> tuple[int, ...]:
    rank = len(output_size)
    old = input.shape[max(0, input.ndim - rank) :]
    if input.ndim <= rank or min(old) < 1:
        raise ShapeError(
            f"adaptive pooling expects inputs [N, C, {axes_of(rank)}] with elements along each "
            f"axis, got {list(input.shape)}: add the missing axes"
        )
    return tuple(n if size is None else size for n, size in zip(old, output_size, strict=True))


def _asked(layer: object, output_size: int | Sequence[int | None] | None) -> tuple[int | None, ...]:
    """`output_size` for each spatial axis, checked."""
    name = type(layer).__name__
    if isinstance(output_size, list | tuple):
        sizes = tuple(output_size)
    elif layer.rank is None:
        raise TracerError(f"{name} expects output_size as a tuple, got {output_size!r}")
    else:
        sizes = (output_size,)
    if len(sizes) == 1 and layer.rank is not None:
        sizes *= layer.rank
    whole = all(s is None or (isinstance(s, int) and s >= 1) for s in sizes)
    if not whole or not sizes or (layer.rank is not None and len(sizes) != layer.rank):
        raise TracerError(
            f"{name} expects output_size as an int of at least 1 or None, or "
            f"{layer.rank or 'one for each axis'} of them, got {output_size!r}"
        )
    return sizes


class AdaptiveAvgPoolNd(Module):
    """The mean over `output_size` windows of as many last axes as it has numbers."""

    rank: int | None = None

    def __init__(self, output_size: int | Sequence[int | None] | None):
        self.output_size = output_size
        self.sizes = _asked(self, output_size)

    def forward(self, input: TensorLike) -> TensorLike:
        return adaptive_avg_pool(input, self.sizes)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveMaxPoolNd(Module):
    """The maximum over `output_size` windows of as many last axes as it has numbers.

    With `return_indices` also where each was found, in the flattened last axes.
    """

    rank: int | None = None

    def __init__(
        self, output_size: int | Sequence[int | None] | None, return_indices: bool = False
    ):
        self.output_size = output_size
        self.return_indices = return_indices
        self.sizes = _asked(self, output_size)

    def forward(self, input: TensorLike) -> TensorLike | tuple[TensorLike, Array]:
        out, places = adaptive_max_pool(input, self.sizes)
        return (out, places) if self.return_indices else out

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(AdaptiveAvgPoolNd):
    """`AdaptiveAvgPoolNd` over one axis: `[N, C, L]`."""

    rank = 1


class AdaptiveAvgPool2d(AdaptiveAvgPoolNd):
    """`AdaptiveAvgPoolNd` over two axes: `[N, C, H, W]`."""

    rank = 2


class AdaptiveAvgPool3d(AdaptiveAvgPoolNd):
    """`AdaptiveAvgPoolNd` over three axes: `[N, C, D, H, W]`."""

    rank = 3


class AdaptiveMaxPool1d(AdaptiveMaxPoolNd):
    """`AdaptiveMaxPoolNd` over one axis: `[N, C, L]`."""

    rank = 1


class AdaptiveMaxPool2d(AdaptiveMaxPoolNd):
    """`AdaptiveMaxPoolNd` over two axes: `[N, C, H, W]`."""

    rank = 2


class AdaptiveMaxPool3d(AdaptiveMaxPoolNd):
    """`AdaptiveMaxPoolNd` over three axes: `[N, C, D, H, W]`."""

    rank = 3
