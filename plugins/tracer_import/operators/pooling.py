"""Maxima and means over windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from tracer.extend import Array, TensorLike
from tracer_import.operators.context import sizes
from tracer_import.operators.table import add_operator, operator
from tracer_layers import functional

Sizes = Sequence[int] | int
#: what becomes an operator
Function: TypeAlias = Callable[..., Any]


def _each(value: Any, rank: int) -> Any:
    """An int for each axis; None for nothing."""
    given = (value,) if isinstance(value, int) else sizes(value)
    return None if not given else given * rank if len(given) == 1 else given


def _max_pool(rank: int, indices: bool) -> Function:
    pool = getattr(functional, f"max_pool{rank}d")

    def function(
        self: TensorLike, kernel_size: Sizes, stride: Sizes = (), padding: Sizes = 0,
        dilation: Sizes = 1, ceil_mode: bool = False,
    ) -> Any:  # fmt: skip
        options = (_each(value, rank) for value in (kernel_size, stride, padding, dilation))
        return pool(self, *options, ceil_mode, indices)

    return function


def _avg_pool(rank: int) -> Function:
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


def _adaptive(kind: str, rank: int, **options: Any) -> Function:
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


def _fractional(rank: int) -> Function:
    pool = getattr(functional, f"fractional_max_pool{rank}d_with_indices")

    def function(
        self: TensorLike, kernel_size: Sizes, output_size: Sizes, random_samples: TensorLike
    ) -> tuple[TensorLike, Array]:
        options = (_each(value, rank) for value in (kernel_size, output_size))
        found, places = pool(self, *options, _random_samples=random_samples)
        return found, places

    return function


for _rank in (2, 3):
    add_operator(f"fractional_max_pool{_rank}d.default", _fractional(_rank))


@operator("max_unpool2d.default", "max_unpool3d.default")
def max_unpool(
    self: TensorLike, indices: TensorLike, output_size: Sizes, stride: Sizes = (),
    padding: Sizes = (),
) -> TensorLike:  # fmt: skip
    """Maxima where they were taken from, zero elsewhere."""
    size = sizes(output_size)
    rank = len(size)
    unpool = functional.max_unpool2d if rank == 2 else functional.max_unpool3d
    # where they go, the indices say: of the windows only the size that they would give is looked at
    steps = [2 * n for n in size]
    around = [(n - 1) * out for n, out in zip(self.shape[-rank:], size, strict=True)]
    return unpool(self, indices, size, steps, around, size)
