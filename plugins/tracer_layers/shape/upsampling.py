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
from tracer_layers.shape.resampling import Resample, Taps

__all__ = ["Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d", "interpolate"]

#: mode -> the number of spatial axes it is for, None: any
MODES = {
    "nearest": None,
    "nearest-exact": None,
    "linear": None,
    "bilinear": 2,
    "trilinear": 3,
    "bicubic": 2,
}
#: a cubic convolution's free parameter (Keys 1981), as PyTorch has it
CUBIC = -0.75


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
    "trilinear" or "bicubic". With `align_corners` the outermost elements keep their places.
    """
    if antialias:
        raise TracerError("interpolate(antialias=True) is not there: average the input first")
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
        taps = _taps(before, after, factor, mode, bool(align_corners), working(input.dtype))
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
    if align_corners is not None and mode.startswith("nearest"):
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
    t = source - low
    near = [((CUBIC + 2) * d - (CUBIC + 3)) * d * d + 1 for d in (t, 1 - t)]
    far = [((CUBIC * d - 5 * CUBIC) * d + 8 * CUBIC) * d - 4 * CUBIC for d in (t + 1, 2 - t)]
    places = [np.clip(low + k, 0, before - 1).astype(int) for k in (-1, 0, 1, 2)]
    return _sum_of(list(zip(places, [far[0], *near, far[1]], strict=True)), before)


def _sum_of(terms: list[tuple[np.ndarray, np.ndarray]], before: int) -> Taps:
    """Taps that add elements `index [out]` of an axis with weights `[out]`."""
    matrix = np.zeros((len(terms[0][0]), before))
    for index, weight in terms:
        np.add.at(matrix, (np.arange(len(index)), index), weight)
    return Taps(matrix)


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
