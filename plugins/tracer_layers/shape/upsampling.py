"""`Upsample`: other sizes of the last axes, by the nearest elements or by interpolation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from numbers import Real
from typing import Any

import numpy as np

from tracer.errors import ShapeError, TracerError
from tracer.extend import DType, TensorLike, working
from tracer_layers.module.dtypes import floats
from tracer_layers.module.module import Module
from tracer_layers.shape.resampling import Resample, Taps, mean_taps

__all__ = [
    "Upsample",
    "UpsamplingBilinear2d",
    "UpsamplingNearest2d",
    "interpolate",
    "upsample",
    "upsample_bilinear",
    "upsample_nearest",
]

#: mode -> the number of spatial axes it is for, None: any
MODES = {
    "nearest": None,
    "nearest-exact": None,
    "linear": None,
    "bilinear": 2,
    "trilinear": 3,
    "bicubic": 2,
    "area": None,
}
#: mode that is smoothed where it shrinks -> how far its filter reaches
SMOOTHED = {"bilinear": 1.0, "bicubic": 2.0}
#: a cubic convolution's free parameter (Keys 1981), as PyTorch has it
CUBIC = -0.75
#: the same where it is smoothed
CUBIC_SMOOTHED = -0.5


def interpolate(
    input: TensorLike,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> TensorLike:
    """`[N, C, *size]` with other sizes: of `size`, or `scale_factor` times the old ones.

    `mode` is "nearest", "nearest-exact", "linear" (over any number of axes), "bilinear",
    "trilinear", "bicubic" or "area", which takes means. With `align_corners` the outermost
    elements keep their places. With `antialias`, for "bilinear" and "bicubic", the input is
    smoothed where it shrinks.
    """
    if antialias and mode not in SMOOTHED:
        raise TracerError(
            f"interpolate(antialias=True) expects mode as {' or '.join(SMOOTHED)}, got {mode!r}"
        )
    rank, input = input.ndim - 2, floats(input)
    _check(input, size, scale_factor, mode, align_corners, rank)
    old = input.shape[2:]
    if size is not None:
        new, factors = _each(size, rank, "size"), (None,) * rank
    else:
        factors = _each(scale_factor, rank, "scale_factor")
        new = tuple(math.floor(n * f) for n, f in zip(old, factors, strict=True))
        if recompute_scale_factor:
            factors = (None,) * rank
    if min((*old, *new), default=1) < 1:
        raise ShapeError(f"expects sizes of at least 1, got {list(old)} to become {list(new)}")
    for i, (before, after, factor) in enumerate(zip(old, new, factors, strict=True)):
        aligned = bool(align_corners)
        if mode == "area":
            taps = mean_taps(before, after)
        elif antialias:
            taps = _smoothed_taps(before, after, factor, mode, aligned)
        else:
            taps = _taps(before, after, factor, mode, aligned, working(input.dtype))
        input = Resample(input, taps=taps, axis=i - rank)
    return input


def _check(
    input: TensorLike,
    size: int | Sequence[int] | None,
    scale_factor: float | Sequence[float] | None,
    mode: str,
    align_corners: bool | None,
    rank: int,
) -> None:
    if mode not in MODES:
        raise TracerError(f"an upsampling mode is one of {', '.join(MODES)}, got {mode!r}")
    if rank < 1 or MODES[mode] not in (None, rank):
        axes = f"{MODES[mode]} spatial axes" if MODES[mode] else "spatial axes"
        raise ShapeError(
            f"upsampling in the mode {mode} expects inputs [N, C, ...] with {axes}, got "
            f"{list(input.shape)}: add axes, or choose another mode (linear takes any number)"
        )
    if (size is None) == (scale_factor is None):
        raise TracerError("upsampling expects one of size and scale_factor")
    if align_corners is not None and (mode.startswith("nearest") or mode == "area"):
        raise TracerError(f"align_corners is for modes that interpolate: leave it out of {mode}")


def _each(value: Any, rank: int, name: str) -> tuple[Any, ...]:
    values = tuple(value) if isinstance(value, list | tuple) else (value,) * rank
    if len(values) != rank or not all(isinstance(v, Real) and v > 0 for v in values):
        raise ShapeError(
            f"upsampling expects {name} as a positive number, or one for each of {rank} axes, got "
            f"{value!r}"
        )
    return values


@lru_cache(maxsize=256)
def _taps(
    before: int, after: int, factor: float | None, mode: str, align_corners: bool, dtype: DType
) -> Taps:
    """Which elements of an axis of `before` make those of one of `after`.

    Places are computed in the dtype of the data, whose rounding decides between equally near ones.
    """
    number = dtype.type
    step = number(1 / factor) if factor is not None else number(before) / number(after)
    places = np.arange(after).astype(dtype)
    if mode == "nearest":
        return _picked(np.floor(places * step), before)
    if mode == "nearest-exact":
        return _picked(np.floor((places + number(0.5)) * step), before)
    if align_corners:
        step = number(before - 1) / number(after - 1) if after > 1 else number(0)
        source = places * step
    else:
        source = (places + number(0.5)) * step - number(0.5)
    if mode == "bicubic":
        return _cubic(source, before)
    source = np.maximum(source, 0)
    low = np.minimum(np.floor(source), before - 1)
    share = np.clip(source - low, 0, 1)
    low = low.astype(int)
    return _sum_of([(low, 1 - share), (np.minimum(low + 1, before - 1), share)], before)


def _picked(index: np.ndarray, before: int) -> Taps:
    index = np.minimum(index.astype(int), before - 1)
    return _sum_of([(index, np.ones(len(index)))], before)


def _cubic(source: np.ndarray, before: int) -> Taps:
    low = np.floor(source)
    places = [np.clip(low + k, 0, before - 1).astype(int) for k in (-1, 0, 1, 2)]
    return _sum_of(list(zip(places, cubic_weights(source - low), strict=True)), before)


def cubic_weights(t: TensorLike) -> list[TensorLike]:
    """The weights of the elements at -1, 0, 1 and 2, for a place `t` from 0 to 1."""
    near, far = (lambda d: _cubic_near(d, CUBIC)), (lambda d: _cubic_far(d, CUBIC))
    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


def _cubic_near(d: TensorLike, a: float) -> TensorLike:
    """The convolution's weight at a distance up to 1."""
    return ((a + 2) * d - (a + 3)) * d * d + 1


def _cubic_far(d: TensorLike, a: float) -> TensorLike:
    """The same at one from 1 to 2."""
    return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a


@lru_cache(maxsize=256)
def _smoothed_taps(
    before: int, after: int, factor: float | None, mode: str, align_corners: bool
) -> Taps:
    """Taps whose filter is as wide as the elements of the result are in the input."""
    step = 1 / factor if factor is not None else before / after
    if align_corners:
        step = (before - 1) / (after - 1) if after > 1 else 0.0
    width = max(step, 1.0)
    reach = SMOOTHED[mode] * width
    matrix = np.zeros((after, before))
    for i, row in enumerate(matrix):
        centre = step * (i + 0.5)
        inside = slice(max(int(centre - reach + 0.5), 0), min(int(centre + reach + 0.5), before))
        d = np.abs(np.arange(before)[inside] - centre + 0.5) / width
        if mode == "bilinear":
            weights = np.maximum(1 - d, 0)
        else:
            a = CUBIC_SMOOTHED
            weights = np.where(d < 1, _cubic_near(d, a), np.where(d < 2, _cubic_far(d, a), 0))
        row[inside] = weights / weights.sum()
    return Taps(matrix)


def _sum_of(terms: list[tuple[np.ndarray, np.ndarray]], before: int) -> Taps:
    """Taps that add elements `index [out]` of an axis with weights `[out]`."""
    matrix = np.zeros((len(terms[0][0]), before))
    for index, weight in terms:
        np.add.at(matrix, (np.arange(len(index)), index), weight)
    return Taps(matrix)


def upsample(
    input: TensorLike,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> TensorLike:
    """`interpolate` by its old name."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(
    input: TensorLike,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
) -> TensorLike:
    """`interpolate` by the nearest elements."""
    return interpolate(input, size, scale_factor)


def upsample_bilinear(
    input: TensorLike,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
) -> TensorLike:
    """`interpolate` of two axes, bilinear with aligned corners."""
    return interpolate(input, size, scale_factor, "bilinear", True)


class Upsample(Module):
    """Other sizes of the spatial axes; see `interpolate`."""

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ):
        self.size = size
        self.scale_factor = _as_floats(scale_factor)
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, input: TensorLike) -> TensorLike:
        return interpolate(
            input,
            self.size,
            self.scale_factor,
            self.mode,
            self.align_corners,
            self.recompute_scale_factor,
        )

    def extra_repr(self) -> str:
        if self.scale_factor is None:
            return f"size={self.size!r}, mode={self.mode!r}"
        return f"scale_factor={self.scale_factor!r}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """`Upsample` by the nearest elements."""

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
    ):
        super().__init__(size, scale_factor)


class UpsamplingBilinear2d(Upsample):
    """`Upsample` by bilinear interpolation, with aligned corners."""

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
    ):
        super().__init__(size, scale_factor, "bilinear", True)


def _as_floats(value: Any) -> Any:
    if value is None:
        return None
    return tuple(map(float, value)) if isinstance(value, list | tuple) else float(value)
