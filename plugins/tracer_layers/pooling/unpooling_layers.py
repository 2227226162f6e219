"""What maxima were taken of, as far as is known: `MaxUnpool1d`, `MaxUnpool2d`, `MaxUnpool3d`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tracer.errors import ShapeError
from tracer.extend import Array, TensorLike, backend, operand
from tracer_layers.convolution.windows import per_axis
from tracer_layers.module.arguments import axes_of
from tracer_layers.module.dtypes import floats
from tracer_layers.module.module import Module
from tracer_layers.module.rules import raw

__all__ = [
    "MaxUnpool1d",
    "MaxUnpool2d",
    "MaxUnpool3d",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
]

Sizes = int | Sequence[int]


def _max_unpool(
    rank: int,
    input: TensorLike,
    indices: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    output_size: Sequence[int] | None,
) -> TensorLike:
    """`[N, C, *output]`, zero but at `indices` in its flattened last axes, of the input's shape.

    Of several values for a place, which overlapping windows have, the last one counts.
    """
    name, places = f"max_unpool{rank}d", raw(operand(indices))
    if (
        input.ndim not in (rank + 1, rank + 2)
        or places.shape != input.shape
        or places.dtype.kind not in "iu"
    ):
        raise ShapeError(
            f"{name} expects inputs [N, C, {axes_of(rank)}] and ints of their shape, as "
            f"max_pool{rank}d(..., return_indices=True) gives, got {list(input.shape)} and "
            f"{places.dtype}{list(places.shape)}"
        )
    kernel = per_axis(f"{name}'s kernel_size", kernel_size, rank, 1)
    steps = kernel if stride is None else per_axis(f"{name}'s stride", stride, rank, 1)
    around = per_axis(f"{name}'s padding", padding, rank, 0)
    lead, old = input.shape[:-rank], input.shape[-rank:]
    size = [(n - 1) * s + k - 2 * p for n, s, k, p in zip(old, steps, kernel, around, strict=True)]
    if output_size is not None:
        size = _asked(name, tuple(output_size)[-rank:], size, steps)
    source = _sources(name, places.reshape(*lead, math.prod(old)), math.prod(size))
    picked = np.take_along_axis(
        floats(input).reshape(*lead, math.prod(old)), np.maximum(source, 0), -1
    )
    return np.where(source >= 0, picked, 0).reshape(*lead, *size)


def _asked(
    name: str, wanted: tuple[int, ...], usual: Sequence[int], steps: Sequence[int]
) -> tuple[int, ...]:
    fits = len(wanted) == len(usual) and all(
        abs(n - u) < s for n, u, s in zip(wanted, usual, steps, strict=True)
    )
    if not fits:
        raise ShapeError(
            f"{name} expects an output_size less than its stride {list(steps)} away from "
            f"{list(usual)}, got {list(wanted)}"
        )
    return wanted


def _sources(name: str, places: Array, count: int) -> Array:
    """`[..., count]`: the position whose value comes to each place, or -1."""
    found = backend.to_host(places)
    low, high = (int(found.min()), int(found.max())) if found.size else (0, -1)
    if low < 0 or high >= count:
        raise ShapeError(
            f"{name} expects indices from 0 to {count - 1}, got {low} to {high}: give it the "
            f"output_size that the maxima were taken of"
        )
    source = np.full((*found.shape[:-1], count), -1)
    positions = np.broadcast_to(np.arange(found.shape[-1]), found.shape)
    np.put_along_axis(source, found, positions, -1)
    return backend.of(places).from_host(source)


def max_unpool1d(
    input: TensorLike,
    indices: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> TensorLike:
    """See `MaxUnpool1d`."""
    return _max_unpool(1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: TensorLike,
    indices: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> TensorLike:
    """See `MaxUnpool2d`."""
    return _max_unpool(2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: TensorLike,
    indices: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> TensorLike:
    """See `MaxUnpool3d`."""
    return _max_unpool(3, input, indices, kernel_size, stride, padding, output_size)


class _MaxUnpool(Module):
    """What the layers of this file share: the windows that the maxima were taken of."""

    rank: int

    def __init__(self, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0):
        of = f"{type(self).__name__}'s"
        self.kernel_size = per_axis(f"{of} kernel_size", kernel_size, self.rank, 1)
        self.stride = per_axis(
            f"{of} stride", kernel_size if stride is None else stride, self.rank, 1
        )
        self.padding = per_axis(f"{of} padding", padding, self.rank, 0)

    def holds_samples(self, value: TensorLike) -> bool:
        """Not of one sample, which has no axis of them."""
        return value.ndim == self.rank + 2 and super().holds_samples(value)

    def forward(
        self, input: TensorLike, indices: TensorLike, output_size: Sequence[int] | None = None
    ) -> TensorLike:
        windows = (self.kernel_size, self.stride, self.padding)
        return _max_unpool(self.rank, input, indices, *windows, output_size)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """The maxima of `MaxPool1d` where they were, zero elsewhere: `[N, C, L]`, with its indices."""

    rank = 1


class MaxUnpool2d(_MaxUnpool):
    """The maxima of `MaxPool2d` where they were, zero elsewhere: `[N, C, H, W]`."""

    rank = 2


class MaxUnpool3d(_MaxUnpool):
    """The maxima of `MaxPool3d` where they were, zero elsewhere: `[N, C, D, H, W]`."""

    rank = 3
