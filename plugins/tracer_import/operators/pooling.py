"""Maxima and means over windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tracer.extend import TensorLike
from tracer_import.operators.context import sizes
from tracer_import.operators.table import add_operator, operator
from tracer_layers import functional

Sizes = Sequence[int] | int


def _each(value: Any, rank: int) -> Any:
    """An int for each axis; None for nothing."""
    given = (value,) if isinstance(value, int) else sizes(value)
    return None if not given else given * rank if len(given) == 1 else given


def _max_pool(rank: int, indices: bool) -> Callable[..., Any]:
    pool = getattr(functional, f"max_pool{rank}d")

    def function(
        self: TensorLike, kernel_size: Sizes, stride: Sizes = (), padding: Sizes = 0,
        dilation: Sizes = 1, ceil_mode: bool = False,
    ) -> Any:  # fmt: skip
        options = (_each(value, rank) for value in (kernel_size, stride, padding, dilation))
        return pool(self, *options, ceil_mode, indices)

    return function


def _avg_pool(rank: int) -> Callable[..., Any]:
    pool = getattr(functional, f"avg_pool{rank}d")

    def function(
        self: TensorLike, kernel_size: Sizes, stride: Sizes = (), padding: Sizes = 0,
        ceil_mode: bool = False, count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> TensorLike:  # fmt: skip
        options = (_each(value, rank) for value in (kernel_size, stride, padding))
        more = (divisor_override,) if rank > 1 else ()
        return pool(self, *options, ceil_mode, count_include_pad, *more)

    return function


def _adaptive(kind: str, rank: int, **options: Any) -> Callable[..., Any]:
    pool = getattr(functional, f"adaptive_{kind}_pool{rank}d")

    def function(self: TensorLike, output_size: Sizes) -> Any:
        return pool(self, _each(output_size, rank), **options)

    return function


for _rank in (1, 2, 3):
    add_operator(f"max_pool{_rank}d.default", _max_pool(_rank, False))
    add_operator(f"max_pool{_rank}d_with_indices.default", _max_pool(_rank, True))
    add_operator(f"avg_pool{_rank}d.default", _avg_pool(_rank))
    add_operator(f"adaptive_avg_pool{_rank}d.default", _adaptive("avg", _rank))
    add_operator(f"_adaptive_avg_pool{_rank}d.default", _adaptive("avg", _rank))
    add_operator(f"adaptive_max_pool{_rank}d.default", _adaptive("max", _rank, return_indices=True))


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


@operator("upsample_nearest1d.default", "upsample_nearest2d.default", "upsample_nearest3d.default")
def nearest_by_axis(
    input: TensorLike, output_size: Sizes, *scales: float | None, **named: float | None
) -> TensorLike:
    """The same, with a factor for each axis."""
    return _interpolated(input, output_size, (*scales, *named.values()), "nearest")


def _interpolated(
    input: TensorLike, size: Any, factors: Any, mode: str, corners: bool | None = None
) -> TensorLike:
    """Other sizes; where factors give the same sizes, they decide what lies where."""
    given = None if size is None else sizes(size)
    scale = tuple(factors) if factors and None not in factors else None
    if given is not None and scale is not None:
        reached = tuple(int(n * f) for n, f in zip(input.shape[2:], scale, strict=True))
        given, scale = (None, scale) if reached == given else (given, None)
    return functional.interpolate(input, given, scale, mode, corners)


def _smooth(mode: str) -> Callable[..., Any]:
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
        return _interpolated(input, output_size, factors, mode, align_corners)

    return function


for _mode, _name in (
    ("linear", "linear1d"),
    ("bilinear", "bilinear2d"),
    ("trilinear", "trilinear3d"),
    ("bicubic", "bicubic2d"),
):
    add_operator(f"upsample_{_name}.vec", _smooth(_mode))
    add_operator(f"upsample_{_name}.default", _smooth(_mode))
