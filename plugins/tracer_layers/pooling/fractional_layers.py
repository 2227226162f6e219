"""Maxima of windows at random places: `FractionalMaxPool2d` and `FractionalMaxPool3d`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tracer.errors import ShapeError, TracerError
from tracer.extend import Array, Generator, TensorLike, backend, generator
from tracer_layers.convolution.windows import per_axis
from tracer_layers.module.arguments import axes_of
from tracer_layers.module.dtypes import floats
from tracer_layers.module.module import Module
from tracer_layers.module.rules import raw

__all__ = [
    "FractionalMaxPool2d",
    "FractionalMaxPool3d",
    "fractional_max_pool2d",
    "fractional_max_pool2d_with_indices",
    "fractional_max_pool3d",
    "fractional_max_pool3d_with_indices",
]

Sizes = int | Sequence[int]
Ratios = float | Sequence[float]


def _fractional_max_pool(
    rank: int,
    input: TensorLike,
    kernel_size: Sizes,
    output_size: Sizes | None,
    output_ratio: Ratios | None,
    samples: TensorLike | None,
    rng: Generator | None,
) -> tuple[TensorLike, Array]:
    """The maxima `[N, C, *output_size]`, and their positions in the flattened last axes.

    Along each axis, windows begin at `floor((i + u) a) - floor(u a)`, with u from 0 to 1 drawn for
    each channel of each sample, and `a` so that they reach over the axis (Graham 2014).
    """
    name, x = f"fractional_max_pool{rank}d", floats(input)
    if x.ndim not in (rank + 1, rank + 2):
        raise ShapeError(
            f"{name} expects inputs [N, C, {axes_of(rank)}], or one sample without N, got "
            f"{list(x.shape)}"
        )
    kernel, old = per_axis(f"{name}'s kernel_size", kernel_size, rank, 1), x.shape[-rank:]
    size = _size(name, old, kernel, output_size, output_ratio)
    lead = x.shape[: x.ndim - rank]
    drawn = _samples(name, samples, (lead if len(lead) == 2 else (1, *lead)), rank, raw(x), rng)
    places = _window_places(drawn.reshape(*lead, rank), old, kernel, size)
    flat, there = x.reshape(*lead, math.prod(old)), backend.of(raw(x))
    count, members = math.prod(size), math.prod(kernel)
    places = places.reshape(*lead, count * members)
    seen = np.take_along_axis(raw(flat), there.from_host(places), -1)
    first = backend.to_host(np.argmax(seen.reshape(*lead, count, members), -1))
    won = np.take_along_axis(places.reshape(*lead, count, members), first[..., None], -1)
    found = there.from_host(won[..., 0])
    out = np.take_along_axis(flat, found, -1)
    return out.reshape(*lead, *size), found.reshape(*lead, *size)


def _size(
    name: str,
    old: Sequence[int],
    kernel: Sequence[int],
    output_size: Sizes | None,
    output_ratio: Ratios | None,
) -> tuple[int, ...]:
    rank = len(old)
    if (output_size is None) == (output_ratio is None):
        raise TracerError(f"{name} expects one of output_size and output_ratio")
    if output_ratio is not None:
        ratios = output_ratio if isinstance(output_ratio, list | tuple) else (output_ratio,) * rank
        if len(ratios) != rank or not all(0 < ratio < 1 for ratio in ratios):
            raise TracerError(f"{name} expects output_ratio between 0 and 1, got {output_ratio}")
        output_size = tuple(int(n * ratio) for n, ratio in zip(old, ratios, strict=True))
    assert output_size is not None
    size = per_axis(f"{name}'s output_size", output_size, rank, 1)
    if any(out + k - 1 > n for out, k, n in zip(size, kernel, old, strict=True)):
        raise ShapeError(
            f"{name} of windows {list(kernel)} over {list(old)} cannot give {list(size)}: ask for "
            f"fewer or smaller windows"
        )
    return size


def _samples(
    name: str,
    given: TensorLike | None,
    lead: tuple[int, ...],
    rank: int,
    like: Array,
    rng: Generator | None,
) -> Array:
    """`[N, C, rank]` numbers from 0 to 1 on the host: those given, or drawn."""
    if given is None:
        found = (rng or generator(like)).random((*lead, rank))
        return backend.to_host(found).astype(like.dtype)
    found = backend.to_host(raw(given))
    if found.shape != (*lead, rank):
        raise ShapeError(f"{name} expects _random_samples {[*lead, rank]}, got {list(found.shape)}")
    return found


def _window_places(
    samples: np.ndarray, old: Sequence[int], kernel: Sequence[int], size: Sequence[int]
) -> np.ndarray:
    """`[N, C, *size, *kernel]`: the position in the flattened axes of each element of a window.

    As in PyTorch, the numbers are for the axes D, H, W or, of two axes, for W and H.
    """
    rank, lead = len(old), samples.shape[:-1]
    places = np.zeros((*lead, *(1,) * (2 * rank)), np.int64)
    for axis in range(rank):
        u = samples[..., axis if rank == 3 else rank - 1 - axis]
        begin = _starts(u, old[axis], kernel[axis], size[axis])
        inside = begin[..., None] + np.arange(kernel[axis])  # [N, C, size, kernel]
        shape = [*lead, *(1,) * (2 * rank)]
        shape[len(lead) + axis], shape[len(lead) + rank + axis] = size[axis], kernel[axis]
        places = places * old[axis] + inside.reshape(shape)
    return places


def _starts(u: np.ndarray, before: int, kernel: int, after: int) -> np.ndarray:
    """`[N, C, after]`: where windows begin, the last one at the end."""
    begin = np.full((*u.shape, after), before - kernel, np.int64)
    if after > 1:
        step = u.dtype.type(before - kernel) / u.dtype.type(after - 1)
        steps = np.arange(after - 1).astype(u.dtype)
        moved = ((steps + u[..., None]) * step).astype(np.int64)
        begin[..., :-1] = moved - (u[..., None] * step).astype(np.int64)
    return begin


def fractional_max_pool2d_with_indices(
    input: TensorLike,
    kernel_size: Sizes,
    output_size: Sizes | None = None,
    output_ratio: Ratios | None = None,
    return_indices: bool = False,
    _random_samples: TensorLike | None = None,
    *,
    rng: Generator | None = None,
) -> tuple[TensorLike, Array]:
    """The maxima of `FractionalMaxPool2d` and where they were, whatever `return_indices` says."""
    options = (output_size, output_ratio, _random_samples, rng)
    return _fractional_max_pool(2, input, kernel_size, *options)


def fractional_max_pool3d_with_indices(
    input: TensorLike,
    kernel_size: Sizes,
    output_size: Sizes | None = None,
    output_ratio: Ratios | None = None,
    return_indices: bool = False,
    _random_samples: TensorLike | None = None,
    *,
    rng: Generator | None = None,
) -> tuple[TensorLike, Array]:
    """The maxima of `FractionalMaxPool3d` and where they were, whatever `return_indices` says."""
    options = (output_size, output_ratio, _random_samples, rng)
    return _fractional_max_pool(3, input, kernel_size, *options)


def fractional_max_pool2d(
    input: TensorLike,
    kernel_size: Sizes,
    output_size: Sizes | None = None,
    output_ratio: Ratios | None = None,
    return_indices: bool = False,
    _random_samples: TensorLike | None = None,
    *,
    rng: Generator | None = None,
) -> TensorLike | tuple[TensorLike, Array]:
    """See `FractionalMaxPool2d`; `_random_samples [N, C, 2]` take the place of what is drawn."""
    options = (output_size, output_ratio, _random_samples, rng)
    found = _fractional_max_pool(2, input, kernel_size, *options)
    return found if return_indices else found[0]


def fractional_max_pool3d(
    input: TensorLike,
    kernel_size: Sizes,
    output_size: Sizes | None = None,
    output_ratio: Ratios | None = None,
    return_indices: bool = False,
    _random_samples: TensorLike | None = None,
    *,
    rng: Generator | None = None,
) -> TensorLike | tuple[TensorLike, Array]:
    """See `FractionalMaxPool3d`; `_random_samples [N, C, 3]` take the place of what is drawn."""
    options = (output_size, output_ratio, _random_samples, rng)
    found = _fractional_max_pool(3, input, kernel_size, *options)
    return found if return_indices else found[0]


class _FractionalMaxPool(Module):
    """What the layers of this file share."""

    rank: int

    def __init__(
        self,
        kernel_size: Sizes,
        output_size: Sizes | None = None,
        output_ratio: Ratios | None = None,
        return_indices: bool = False,
        _random_samples: TensorLike | None = None,
        *,
        rng: Generator | None = None,
    ):
        name = type(self).__name__
        if (output_size is None) == (output_ratio is None):
            raise TracerError(f"{name} expects one of output_size and output_ratio")
        self.kernel_size = per_axis(f"{name}'s kernel_size", kernel_size, self.rank, 1)
        self.output_size = output_size
        self.output_ratio = output_ratio
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)
        self.rng = rng

    def forward(self, input: TensorLike) -> TensorLike | tuple[TensorLike, Array]:
        options = (self.output_size, self.output_ratio, self._random_samples, self.rng)
        found = _fractional_max_pool(self.rank, input, self.kernel_size, *options)
        return found if self.return_indices else found[0]


class FractionalMaxPool2d(_FractionalMaxPool):
    """The maxima of `output_size` windows of `[N, C, H, W]`, at random places (Graham 2014).

    `output_ratio` gives the sizes as parts of the input's. Windows are drawn in evaluation, too.
    """

    rank = 2


class FractionalMaxPool3d(_FractionalMaxPool):
    """The same of `[N, C, D, H, W]`; see `FractionalMaxPool2d`."""

    rank = 3
