"""Sums, means, moments, extremes and norms over axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tracer.extend import DType, TensorLike, raw
from tracer_import.operators.table import operator
from tracer_layers import functional

#: one axis, several, or None for all
Dims = int | Sequence[int] | None


def _axes(self: TensorLike, dim: Dims) -> int | tuple[int, ...] | None:
    """Axes as NumPy takes them; PyTorch lets an array without axes have one."""
    if isinstance(dim, tuple | list):
        return tuple(dim) or None if self.ndim else None
    return dim if self.ndim else None  # type: ignore[return-value]  # an int, or None


def _cast(x: TensorLike, dtype: DType | None) -> TensorLike:
    return x if dtype is None or x.dtype == dtype else x.astype(dtype)


@operator("sum.default", "sum.dim_IntList")
def total(
    self: TensorLike, dim: Dims = None, keepdim: bool = False, dtype: DType | None = None
) -> TensorLike:
    """The sum over axes."""
    return np.sum(_cast(self, dtype), axis=_axes(self, dim), keepdims=keepdim)


@operator("mean.default", "mean.dim")
def mean(
    self: TensorLike, dim: Dims = None, keepdim: bool = False, dtype: DType | None = None
) -> TensorLike:
    """The mean over axes."""
    return np.mean(_cast(self, dtype), axis=_axes(self, dim), keepdims=keepdim)


@operator("prod.default", "prod.dim_int")
def prod(
    self: TensorLike, dim: int | None = None, keepdim: bool = False, dtype: DType | None = None
) -> TensorLike:
    """The product over an axis."""
    return np.prod(_cast(self, dtype), axis=dim, keepdims=keepdim)


def _moments(
    x: TensorLike, dim: Dims, correction: float | None, keepdim: bool
) -> tuple[TensorLike, TensorLike]:
    """Variance and mean; `correction` is taken from the number of elements."""
    axes = _axes(x, dim)
    if isinstance(axes, int):
        axes = (axes,)
    every = tuple(range(x.ndim)) if axes is None else axes
    count = math.prod(x.shape[axis] for axis in every)
    middle = np.mean(x, axis=every, keepdims=True)
    centred = x - middle
    freedom = max(0, count - (1 if correction is None else correction))
    variance = np.sum(centred * centred, axis=every, keepdims=True) / freedom
    if keepdim:
        return variance, middle
    return np.squeeze(variance, axis=every), np.squeeze(middle, axis=every)


@operator("var.correction")
def variance(
    self: TensorLike, dim: Dims = None, correction: float | None = None, keepdim: bool = False
) -> TensorLike:
    """The variance over axes."""
    return _moments(self, dim, correction, keepdim)[0]


@operator("std.correction")
def deviation(
    self: TensorLike, dim: Dims = None, correction: float | None = None, keepdim: bool = False
) -> TensorLike:
    """The root of the variance over axes."""
    return np.sqrt(_moments(self, dim, correction, keepdim)[0])


@operator("var_mean.correction")
def variance_and_mean(
    self: TensorLike, dim: Dims = None, correction: float | None = None, keepdim: bool = False
) -> tuple[TensorLike, TensorLike]:
    """Variance and mean over axes."""
    return _moments(self, dim, correction, keepdim)


@operator("std_mean.correction")
def deviation_and_mean(
    self: TensorLike, dim: Dims = None, correction: float | None = None, keepdim: bool = False
) -> tuple[TensorLike, TensorLike]:
    """The root of the variance, and the mean."""
    found, middle = _moments(self, dim, correction, keepdim)
    return np.sqrt(found), middle


@operator("var.default", "var.dim")
def old_variance(
    self: TensorLike, dim: Any = None, unbiased: bool = True, keepdim: bool = False
) -> TensorLike:
    """The variance, told whether it is unbiased."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    return _moments(self, dim, float(unbiased), keepdim)[0]


@operator("std.default", "std.dim")
def old_deviation(
    self: TensorLike, dim: Any = None, unbiased: bool = True, keepdim: bool = False
) -> TensorLike:
    """The root of the variance, told whether that is unbiased."""
    return np.sqrt(old_variance(self, dim, unbiased, keepdim))


@operator("amax.default")
def amax(self: TensorLike, dim: Dims = (), keepdim: bool = False) -> TensorLike:
    """The largest over axes."""
    return np.max(self, axis=_axes(self, dim), keepdims=keepdim)


@operator("amin.default")
def amin(self: TensorLike, dim: Dims = (), keepdim: bool = False) -> TensorLike:
    """The smallest over axes."""
    return np.min(self, axis=_axes(self, dim), keepdims=keepdim)


@operator("max.default")
def largest(self: TensorLike) -> TensorLike:
    """The largest of all."""
    return np.max(self)


@operator("min.default")
def smallest(self: TensorLike) -> TensorLike:
    """The smallest of all."""
    return np.min(self)


def _picked(self: TensorLike, index: Any, dim: int, keepdim: bool) -> tuple[TensorLike, Any]:
    if self.ndim == 0:
        return self, index
    places = np.expand_dims(index, dim)
    values = np.take_along_axis(self, places, dim)
    return (values, places) if keepdim else (np.squeeze(values, dim), index)


@operator("max.dim")
def max_along(self: TensorLike, dim: int, keepdim: bool = False) -> tuple[TensorLike, Any]:
    """The largest along an axis, and where they are."""
    return _picked(self, np.argmax(self, axis=dim if self.ndim else None), dim, keepdim)


@operator("min.dim")
def min_along(self: TensorLike, dim: int, keepdim: bool = False) -> tuple[TensorLike, Any]:
    """The smallest along an axis, and where they are."""
    return _picked(self, np.argmin(self, axis=dim if self.ndim else None), dim, keepdim)


@operator("argmax.default")
def argmax(self: TensorLike, dim: int | None = None, keepdim: bool = False) -> TensorLike:
    """Where the largest is."""
    return np.argmax(self, axis=dim if self.ndim else None, keepdims=keepdim)


@operator("argmin.default")
def argmin(self: TensorLike, dim: int | None = None, keepdim: bool = False) -> TensorLike:
    """Where the smallest is."""
    return np.argmin(self, axis=dim if self.ndim else None, keepdims=keepdim)


@operator("any.default", "any.dim", "any.dims")
def some(self: TensorLike, dim: Dims = None, keepdim: bool = False) -> TensorLike:
    """Whether any element is true."""
    return np.any(raw(self), axis=_axes(self, dim), keepdims=keepdim)


@operator("all.default", "all.dim", "all.dims")
def every(self: TensorLike, dim: Dims = None, keepdim: bool = False) -> TensorLike:
    """Whether all elements are true."""
    return np.all(raw(self), axis=_axes(self, dim), keepdims=keepdim)


@operator("cumsum.default")
def cumsum(self: TensorLike, dim: int, dtype: DType | None = None) -> TensorLike:
    """Sums up to each place of an axis."""
    x = _cast(self, dtype)
    return np.cumsum(x, axis=dim) if x.ndim else x


@operator("logsumexp.default")
def logsumexp(self: TensorLike, dim: Dims, keepdim: bool = False) -> TensorLike:
    """`log sum exp` over axes, without overflow."""
    axes = _axes(self, dim)
    top = np.max(raw(self), axis=axes, keepdims=True)
    out = np.log(np.sum(np.exp(self - top), axis=axes, keepdims=True)) + top
    return out if keepdim else np.squeeze(out, axis=axes)


@operator("linalg_vector_norm.default")
def vector_norm(
    self: TensorLike, ord: float = 2, dim: Dims = None, keepdim: bool = False,
    dtype: DType | None = None,
) -> TensorLike:  # fmt: skip
    """`(sum |x|^ord)^(1/ord)` over axes; 0 at zero, and so is its gradient."""
    x, axes = _cast(self, dtype), _axes(self, dim)
    if ord == 2 and (axes is None or isinstance(axes, int) or len(axes) == 1):
        axis = axes[0] if isinstance(axes, tuple) else axes
        return np.linalg.norm(x, axis=axis, keepdims=keepdim)
    if ord == 2:
        return np.sqrt(np.sum(np.square(x), axis=axes, keepdims=keepdim))
    if math.isinf(ord):
        return (np.max if ord > 0 else np.min)(np.abs(x), axis=axes, keepdims=keepdim)
    if ord == 1:
        return np.sum(np.abs(x), axis=axes, keepdims=keepdim)
    if ord == 0:
        return np.sum((raw(x) != 0).astype(x.dtype), axis=axes, keepdims=keepdim)
    return np.power(np.sum(np.power(np.abs(x), ord), axis=axes, keepdims=keepdim), 1 / ord)


@operator("norm.ScalarOpt_dim", "norm.Scalar", "norm.ScalarOpt_dim_dtype")
def norm(
    self: TensorLike, p: float | None = 2, dim: Dims = None, keepdim: bool = False,
    dtype: DType | None = None,
) -> TensorLike:  # fmt: skip
    """The same by its older name."""
    return vector_norm(self, 2 if p is None else p, dim, keepdim, dtype)


@operator("frobenius_norm.dim")
def frobenius_norm(self: TensorLike, dim: Dims, keepdim: bool = False) -> TensorLike:
    """The root of the sum of squares."""
    return vector_norm(self, 2, dim, keepdim)


@operator("softmax.int", "_softmax.default", "special_softmax.int")
def softmax(self: TensorLike, dim: int, dtype: Any = None) -> TensorLike:
    """Exponentials that sum to one along an axis."""
    if self.ndim == 0:
        return self * 0 + 1
    return functional.softmax(self, dim, dtype=None if isinstance(dtype, bool) else dtype)


@operator("log_softmax.int", "_log_softmax.default")
def log_softmax(self: TensorLike, dim: int, dtype: Any = None) -> TensorLike:
    """The logarithm of `softmax`."""
    if self.ndim == 0:
        return self * 0
    return functional.log_softmax(self, dim, dtype=None if isinstance(dtype, bool) else dtype)


@operator("topk.default")
def topk(
    self: TensorLike, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> tuple[TensorLike, Any]:
    """The k largest or smallest along an axis, in order, and where they are."""
    if self.ndim == 0:
        return self, np.zeros((), np.int64)
    order = np.argsort(-self if largest else self, axis=dim, kind="stable")
    index = np.take(order, np.arange(k), axis=dim)
    return np.take_along_axis(self, index, dim), index


@operator("sort.default", "sort.stable")
def sort(
    self: TensorLike, dim: int = -1, descending: bool = False, stable: bool | None = None
) -> tuple[TensorLike, Any]:
    """In order along an axis, and where they were."""
    if self.ndim == 0:
        return self, np.zeros((), np.int64)
    index = np.argsort(-self if descending else self, axis=dim, kind="stable")
    return np.take_along_axis(self, index, dim), index


@operator("argsort.default", "argsort.stable")
def argsort(
    self: TensorLike, dim: int = -1, descending: bool = False, stable: bool | None = None
) -> Any:
    """Where the elements in order were."""
    return sort(self, dim, descending)[1]


@operator("kthvalue.default")
def kthvalue(
    self: TensorLike, k: int, dim: int = -1, keepdim: bool = False
) -> tuple[TensorLike, TensorLike]:
    """The k-th smallest along an axis, and where it is."""
    if self.ndim == 0:
        return self, np.zeros((), np.int64)
    index = np.take(np.argsort(raw(self), axis=dim, kind="stable"), [k - 1], axis=dim)
    value = np.take_along_axis(self, index, dim)
    return (value, index) if keepdim else (np.squeeze(value, dim), np.squeeze(index, dim))


@operator("median.dim")
def median(self: TensorLike, dim: int = -1, keepdim: bool = False) -> tuple[TensorLike, TensorLike]:
    """The median along an axis, the lower of two, or the first nan; and where it is."""
    if self.ndim == 0:
        return self, np.zeros((), np.int64)
    values = raw(self)
    index = np.take(np.argsort(values, axis=dim, kind="stable"), [(self.shape[dim] - 1) // 2], dim)
    missing = np.isnan(values)
    first = np.argmax(missing, axis=dim, keepdims=True)
    index = np.where(np.any(missing, axis=dim, keepdims=True), first, index)
    value = np.take_along_axis(self, index, dim)
    return (value, index) if keepdim else (np.squeeze(value, dim), np.squeeze(index, dim))


@operator("median.default")
def median_of_all(self: TensorLike) -> TensorLike:
    """The median of all elements, the lower of two."""
    return median(np.reshape(self, (-1,)))[0]
