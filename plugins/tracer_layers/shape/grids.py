"""Values at places between elements, which a grid gives: `grid_sample` and `affine_grid`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tracer.errors import ShapeError, TracerError
from tracer.extend import Array, TensorLike, backend, integers, narrowed, widened
from tracer_layers.module.dtypes import floats
from tracer_layers.module.rules import raw
from tracer_layers.shape.upsampling import cubic_weights

__all__ = ["affine_grid", "grid_sample"]

PADDING_MODES = ("zeros", "border", "reflection")

#: of the taps of one axis: their indices, whole and perhaps outside, and their weights
Taps = Iterator[tuple[Array, TensorLike]]


def grid_sample(
    input: TensorLike,
    grid: TensorLike,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> TensorLike:
    """Of `input [N, C, *size]` the values at `grid [N, *places, rank]`: `[N, C, *places]`.

    The last axis of the grid holds places from -1 to 1, that along the last axis of the input
    first. These are the centres of the outermost elements if `align_corners`, else their edges.
    `mode` is "bilinear" (over two or three axes), "nearest" or "bicubic" (two). What is outside is
    zero, the nearest inside ("border"), or a reflection ("reflection").
    """
    x, places = floats(input, grid), floats(grid, input)
    rank = x.ndim - 2
    _check(x, places, mode, padding_mode, rank)
    size, dtype = x.shape[2:], x.dtype
    x, places = widened(x), widened(places)
    flat = x.reshape(*x.shape[:2], math.prod(size))
    points = places.reshape(len(places), math.prod(places.shape[1:-1]), rank)
    taps = []
    for axis, count in enumerate(size):
        place = points[..., rank - 1 - axis]
        place = (place + 1) * ((count - 1) / 2) if align_corners else ((place + 1) * count - 1) / 2
        inside = _inside(padding_mode, count, bool(align_corners))
        taps.append([*_KINDS[mode](place, inside)])
    total: TensorLike = 0
    for corner in itertools.product(*taps):
        index, known, weight = _combined(corner, size)
        total = total + np.take_along_axis(flat, index, -1) * (weight * known)[:, None]
    return narrowed(total, dtype).reshape(*x.shape[:2], *places.shape[1:-1])


def _check(x: TensorLike, grid: TensorLike, mode: str, padding_mode: str, rank: int) -> None:
    if mode not in _KINDS:
        raise TracerError(f"grid_sample expects mode as one of {', '.join(_KINDS)}, got {mode!r}")
    if padding_mode not in PADDING_MODES:
        raise TracerError(
            f"grid_sample expects padding_mode as one of {', '.join(PADDING_MODES)}, got "
            f"{padding_mode!r}"
        )
    fits = x.ndim == grid.ndim and rank in (2, 3) and grid.shape[-1] == rank
    fits = fits and x.shape[0] == grid.shape[0] and 0 not in x.shape[2:]
    if not fits or (mode == "bicubic" and rank != 2):
        raise ShapeError(
            f"grid_sample expects an input [N, C, H, W] and a grid [N, places, places, 2], or one "
            f"axis more and a last one of 3 unless it is bicubic, got {list(x.shape)} and "
            f"{list(grid.shape)}"
        )


def _combined(
    corner: Sequence[tuple[Array, TensorLike]], size: Sequence[int]
) -> tuple[Array, Array, TensorLike]:
    """Of a tap along each axis: the places `[N, 1, P]` in the flattened axes, which of them there
    are `[N, P]`, and the weights.
    """
    index, known, total = 0, True, None
    for (places, weight), count in zip(corner, size, strict=True):
        known = known & (places >= 0) & (places < count)
        index = index * count + np.clip(places, 0, count - 1)
        total = weight if total is None else total * weight
    return index[:, None], known, total


def _inside(mode: str, count: int, align_corners: bool) -> Callable[[TensorLike], TensorLike]:
    """Takes places along an axis to where their values are read."""
    if mode == "zeros":
        return lambda place: place
    if mode == "border":
        return lambda place: _clipped(place, count)
    low, span = (0.0, count - 1) if align_corners else (-0.5, count)
    return lambda place: _clipped(_reflected(place, low, span), count)


def _clipped(place: TensorLike, count: int) -> TensorLike:
    """Places from 0 to `count - 1`; at these and beyond, nothing depends on the place."""
    values = raw(place)
    free = (values > 0) & (values < count - 1)
    return np.where(free, place, np.clip(values, 0, count - 1))


def _reflected(place: TensorLike, low: float, span: float) -> TensorLike:
    """Places reflected at `low` and `low + span`, as often as it takes."""
    if span == 0:
        return place * 0
    values = raw(place) - low
    folds = np.floor(np.abs(values) / span)
    sign = np.where(folds % 2 == 0, 1.0, -1.0)
    offset = np.where(folds % 2 == 0, -folds * span, (folds + 1) * span)
    sign, back = sign.astype(values.dtype), np.where(values < 0, -1.0, 1.0).astype(values.dtype)
    return (place - low) * (sign * back) + (offset + low).astype(values.dtype)


def _ints(values: Array) -> Array:
    return values.astype(np.int64)


def _nearest(place: TensorLike, inside: Callable[[TensorLike], TensorLike]) -> Taps:
    values = np.round(raw(inside(place)))
    yield _ints(values), np.ones_like(values)


def _linear(place: TensorLike, inside: Callable[[TensorLike], TensorLike]) -> Taps:
    place = inside(place)
    low = np.floor(raw(place))
    share = place - low
    yield _ints(low), 1 - share
    yield _ints(low) + 1, share


def _cubic(place: TensorLike, inside: Callable[[TensorLike], TensorLike]) -> Taps:
    low = np.floor(raw(place))
    for k, weight in zip((-1, 0, 1, 2), cubic_weights(place - low), strict=True):
        yield _ints(raw(inside(low + k))), weight


_KINDS = {"bilinear": _linear, "nearest": _nearest, "bicubic": _cubic}


def affine_grid(
    theta: TensorLike, size: Sequence[int], align_corners: bool | None = None
) -> TensorLike:
    """The grid `[N, *places, rank]` of affine maps `theta [N, rank, rank + 1]`, for `grid_sample`.

    `size` is `[N, C, *places]`. The places go from -1 to 1 along each axis, to the centres of the
    outermost elements if `align_corners`, else to their edges.
    """
    sizes, theta = integers(size, "size of affine_grid"), floats(theta)
    rank = len(sizes) - 2
    if rank not in (2, 3) or min(sizes[2:]) < 1 or theta.shape != (sizes[0], rank, rank + 1):
        raise ShapeError(
            f"affine_grid expects theta [N, 2, 3] for a size [N, C, H, W], or [N, 3, 4] for "
            f"[N, C, D, H, W], got {list(theta.shape)} and {list(sizes)}"
        )
    places = [_steps(count, bool(align_corners)) for count in sizes[2:]]
    axes = np.meshgrid(*places, indexing="ij")[::-1]
    points = np.stack([*axes, np.ones(sizes[2:])], axis=-1).reshape(-1, rank + 1)
    points = backend.of(raw(theta)).from_host(points.astype(theta.dtype))
    return (points @ np.swapaxes(theta, -1, -2)).reshape(sizes[0], *sizes[2:], rank)


def _steps(count: int, align_corners: bool) -> np.ndarray:
    if count == 1:
        return np.zeros(1)
    places = np.linspace(-1, 1, count)
    return places if align_corners else places * ((count - 1) / count)
