"""Other sizes by the nearest elements or by interpolation, and values at places of grids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from tracer.extend import TensorLike
from tracer_import.operators.context import sizes
from tracer_import.operators.table import add_operator, operator
from tracer_layers import functional

Sizes = Sequence[int] | int
#: what becomes an operator
Function: TypeAlias = Callable[..., Any]


@operator("upsample_nearest1d.vec", "upsample_nearest2d.vec", "upsample_nearest3d.vec")
def nearest(
    input: TensorLike, output_size: Sizes | None, scale_factors: Sequence[float] | None = None
) -> TensorLike:
    """Other sizes, by the nearest elements."""
    return _interpolated(input, output_size, scale_factors, "nearest")


@operator(*(f"_upsample_nearest_exact{n}d.vec" for n in (1, 2, 3)))
def nearest_exact(
    input: TensorLike, output_size: Sizes | None, scale_factors: Sequence[float] | None = None
) -> TensorLike:
    """The same, by the nearest centres."""
    return _interpolated(input, output_size, scale_factors, "nearest-exact")


def _by_axis(mode: str) -> Function:
    def function(
        self: TensorLike, output_size: Sizes, *scales: float | None, **named: float | None
    ) -> TensorLike:
        return _interpolated(self, output_size, (*scales, *named.values()), mode)

    return function


for _rank in (1, 2, 3):
    add_operator(f"upsample_nearest{_rank}d.default", _by_axis("nearest"))
    add_operator(f"_upsample_nearest_exact{_rank}d.default", _by_axis("nearest-exact"))


def _interpolated(
    input: TensorLike, size: Any, factors: Any, mode: str, corners: bool | None = None,
    antialias: bool = False,
) -> TensorLike:  # fmt: skip
    """Other sizes; where factors give the same sizes, they decide what lies where."""
    given = None if size is None else sizes(size)
    scale = tuple(factors) if factors and None not in factors else None
    if given is not None and scale is not None:
        reached = tuple(int(n * f) for n, f in zip(input.shape[2:], scale, strict=True))
        given, scale = (None, scale) if reached == given else (given, None)
    return functional.interpolate(input, given, scale, mode, corners, antialias=antialias)


def _smooth(mode: str, antialias: bool = False) -> Function:
    def function(
        input: TensorLike,
        output_size: Sizes | None,
        align_corners: bool,
        *scales: Any,
        **named: Any,
    ) -> TensorLike:
        factors = (*scales, *named.values())
        if len(factors) == 1 and isinstance(factors[0], tuple | list):  # one for all axes
            factors = tuple(factors[0])
        return _interpolated(input, output_size, factors, mode, align_corners, antialias)

    return function


for _mode, _name in (
    ("linear", "linear1d"),
    ("bilinear", "bilinear2d"),
    ("trilinear", "trilinear3d"),
    ("bicubic", "bicubic2d"),
):
    add_operator(f"upsample_{_name}.vec", _smooth(_mode))
    add_operator(f"upsample_{_name}.default", _smooth(_mode))
for _mode in ("bilinear", "bicubic"):
    add_operator(f"_upsample_{_mode}2d_aa.vec", _smooth(_mode, antialias=True))
    add_operator(f"_upsample_{_mode}2d_aa.default", _smooth(_mode, antialias=True))


#: PyTorch's numbers of modes, and of what is outside
GRID_MODES, OUTSIDE = ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection")


@operator("grid_sampler.default", "grid_sampler_2d.default", "grid_sampler_3d.default")
def grid_sample(
    input: TensorLike, grid: TensorLike, interpolation_mode: int, padding_mode: int,
    align_corners: bool,
) -> TensorLike:  # fmt: skip
    """Values at places between elements, which a grid gives."""
    mode, outside = GRID_MODES[interpolation_mode], OUTSIDE[padding_mode]
    return functional.grid_sample(input, grid, mode, outside, align_corners)


@operator("affine_grid_generator.default")
def affine_grid(theta: TensorLike, size: Sequence[int], align_corners: bool) -> TensorLike:
    """The grid of affine maps."""
    return functional.affine_grid(theta, sizes(size), align_corners)
