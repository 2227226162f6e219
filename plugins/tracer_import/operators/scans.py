"""What goes along an axis and keeps its place: extremes so far, quantiles, integrals of samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import numpy as np

from tracer import registry
from tracer.extend import DType, TensorLike, raw
from tracer_import.operators.context import Operand
from tracer_import.operators.table import add_operator, operator

#: axes as a program has them
Axes: TypeAlias = "int | Sequence[int] | None"


def _extremes_so_far(
    accumulate: Callable[..., np.ndarray], reaches: np.ufunc
) -> Callable[..., tuple[TensorLike, TensorLike]]:
    def function(self: TensorLike, dim: int) -> tuple[TensorLike, TensorLike]:
        """The extreme up to each place of an axis, and where it was last; nan once there is one."""
        values = raw(self)
        if values.ndim == 0:
            return self, np.zeros((), np.int64)
        so_far = accumulate(values, axis=dim)
        behind = (1,) * (values.ndim - 1 - dim % values.ndim)
        place = np.arange(values.shape[dim]).reshape(-1, *behind)
        moves = reaches(values, so_far) | (values != values)
        index = np.maximum.accumulate(np.where(moves, place, 0), axis=dim)
        return np.take_along_axis(self, index, dim), index

    return function


add_operator("cummax.default", _extremes_so_far(np.maximum.accumulate, np.greater_equal))
add_operator("cummin.default", _extremes_so_far(np.minimum.accumulate, np.less_equal))


@operator("logcumsumexp.default")
def log_sums_so_far(self: TensorLike, dim: int) -> TensorLike:
    """`log(sum(exp(x)))` up to each place of an axis."""
    if self.ndim == 0 or not self.shape[dim]:
        return self
    lead = (slice(None),) * (dim % self.ndim)
    parts = [self[(*lead, slice(0, 1))]]
    for i in range(1, self.shape[dim]):
        parts.append(np.logaddexp(parts[-1], self[(*lead, slice(i, i + 1))]))
    return np.concatenate(parts, axis=dim)


@operator("quantile.default", "quantile.scalar")
def quantile(
    self: TensorLike,
    q: Operand,
    dim: int | None = None,
    keepdim: bool = False,
    interpolation: Literal["linear", "lower", "higher", "midpoint", "nearest"] = "linear",
) -> TensorLike:
    """Quantiles along an axis or of all elements, those of several `q` along a new first axis."""
    return np.quantile(self, raw(q), axis=_axes(self, dim), keepdims=keepdim, method=interpolation)


def _axes(x: TensorLike, dim: Axes) -> int | tuple[int, ...] | None:
    """Axes as NumPy takes them: none named are all, and 0 is that of a number."""
    if x.ndim == 0:
        return None
    if isinstance(dim, Sequence):
        return tuple(dim) or None
    return dim


@operator("nansum.default")
def sum_of_numbers(
    self: TensorLike, dim: Axes = None, keepdim: bool = False, dtype: DType | None = None
) -> TensorLike:
    """The sum of what is a number."""
    x = self if dtype is None else self.astype(dtype)
    return np.nansum(x, axis=_axes(x, dim), keepdims=keepdim)


@operator("nanmean.default")
def mean_of_numbers(
    self: TensorLike, dim: Axes = None, keepdim: bool = False, dtype: DType | None = None
) -> TensorLike:
    """The mean of what is a number."""
    x = self if dtype is None else self.astype(dtype)
    return np.nanmean(x, axis=_axes(x, dim), keepdims=keepdim)


@operator("trapezoid.dx")
def integral(y: TensorLike, dx: Operand = 1, dim: int = -1) -> TensorLike:
    """The integral of samples by the trapezoidal rule."""
    return np.trapezoid(y, dx=dx, axis=dim)


@operator("cumulative_trapezoid.dx")
def integrals_so_far(y: TensorLike, dx: Operand = 1, dim: int = -1) -> TensorLike:
    """The integrals up to each sample but the first."""
    lead = (slice(None),) * (dim % y.ndim)
    sums = y[(*lead, slice(1, None))] + y[(*lead, slice(0, -1))]
    return np.cumsum(sums * (dx / 2), axis=dim)


@operator("linalg_cross.default")
def cross(self: TensorLike, other: TensorLike, dim: int = -1) -> TensorLike:
    """The product of vectors of three elements along an axis."""
    return np.cross(self, other, axis=dim)


@operator("logaddexp2.default")
def log_of_sum(self: TensorLike, other: TensorLike) -> TensorLike:
    """`log2(2^x + 2^y)`."""
    return np.logaddexp2(self, other)


def _special(name: str) -> Callable[..., TensorLike]:
    def function(self: TensorLike) -> TensorLike:
        return registry.operations[name](self)

    return function


for _name in ("i0", "i0e", "i1", "i1e", "erfcx", "ndtr", "log_ndtr"):
    add_operator(f"special_{_name}.default", _special(_name))
add_operator("i0.default", _special("i0"))
for _name in ("matrix_exp.default", "linalg_matrix_exp.default"):
    add_operator(_name, _special("expm"))
