"""Operators that are used seldom, in terms of the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracer import registry
from tracer.extend import TensorLike, raw
from tracer_import.operators.context import Operand
from tracer_import.operators.indexing import index_put
from tracer_import.operators.reductions import variance_and_mean
from tracer_import.operators.shapes import chunk, split, split_with_sizes
from tracer_import.operators.table import add_operator, operator
from tracer_layers import functional

#: ATen's name -> a function of one array
SIMPLE: dict[str, Callable[..., Any]] = {
    "deg2rad.default": np.deg2rad,
    "rad2deg.default": np.rad2deg,
    "sinc.default": np.sinc,
    "ravel.default": np.ravel,
    "fliplr.default": lambda x: np.flip(x, 1),
    "flipud.default": lambda x: np.flip(x, 0),
    "isposinf.default": lambda x: raw(x) == np.inf,
    "isneginf.default": lambda x: raw(x) == -np.inf,
    "signbit.default": lambda x: np.signbit(raw(x)),
    "trace.default": lambda x: np.sum(np.diagonal(x)),
    "frac.default": lambda x: x - np.trunc(x),
    "hstack.default": lambda xs: np.concatenate(list(xs), axis=0 if xs[0].ndim < 2 else 1),
    "vstack.default": lambda xs: np.vstack(list(xs)),
}


def _of_one(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self: function(self)


for _name, _function in SIMPLE.items():
    add_operator(_name, _of_one(_function))
add_operator("unsafe_chunk.default", chunk)
add_operator("unsafe_split.Tensor", split)
add_operator("unsafe_split_with_sizes.default", split_with_sizes)


@operator("var_mean.default", "var_mean.dim")
def old_variance_and_mean(
    self: TensorLike, dim: Any = None, unbiased: bool = True, keepdim: bool = False
) -> tuple[TensorLike, TensorLike]:
    """Variance and mean, told whether it is unbiased."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    return variance_and_mean(self, dim, float(unbiased), keepdim)


@operator("cumprod.default")
def cumprod(self: TensorLike, dim: int, dtype: Any = None) -> TensorLike:
    """Products up to each place of an axis."""
    x = self if dtype is None else self.astype(dtype)
    if x.ndim == 0:
        return x
    lead = (slice(None),) * (dim % x.ndim)
    size = x.shape[dim]
    parts = [np.prod(x[(*lead, slice(0, i + 1))], axis=dim, keepdims=True) for i in range(size)]
    return np.concatenate(parts, axis=dim) if parts else x


@operator("addmv.default")
def addmv(
    self: TensorLike, mat: TensorLike, vec: TensorLike, beta: Operand = 1, alpha: Operand = 1
) -> TensorLike:
    """`beta self + alpha mat @ vec`."""
    return self * beta + np.matmul(mat, vec) * alpha


@operator("vdot.default")
def vdot(self: TensorLike, other: TensorLike) -> TensorLike:
    """The product of vectors."""
    return np.matmul(self, other)


@operator("inner.default")
def inner(self: TensorLike, other: TensorLike) -> TensorLike:
    """Products summed over both last axes."""
    return np.inner(self, other)


@operator("tensordot.default")
def tensordot(
    self: TensorLike, other: TensorLike, dims_self: Sequence[int], dims_other: Sequence[int]
) -> TensorLike:
    """Products summed over some axes of both."""
    return np.tensordot(self, other, (list(dims_self), list(dims_other)))


@operator("diag_embed.default")
def diag_embed(self: TensorLike, offset: int = 0, dim1: int = -2, dim2: int = -1) -> TensorLike:
    """The last axis as a diagonal of two."""
    size = self.shape[-1] + abs(offset)
    eye = np.eye(size, k=offset, dtype=self.dtype)
    rows = np.flatnonzero(eye.any(axis=1))
    spread = np.zeros((self.shape[-1], size, size), self.dtype)
    spread[np.arange(len(rows)), rows] = eye[rows]
    flat = np.tensordot(self, spread, ((-1,), (0,)))
    return np.moveaxis(flat, (-2, -1), (dim1, dim2))


@operator("logit.default")
def logit(self: TensorLike, eps: float | None = None) -> TensorLike:
    """`log(x / (1 - x))`, of numbers that are `eps` away from 0 and 1."""
    x = self if eps is None else np.clip(self, eps, 1 - eps)
    return registry.operations["logit"](x)


@operator("xlogy.Tensor", "xlogy.Scalar_Other", "xlogy.Scalar_Self")
def xlogy(self: Operand, other: Operand) -> TensorLike:
    """`self log(other)`, 0 where `self` is."""
    return registry.operations["xlogy"](self, other)


@operator("index_add.default")
def index_add(
    self: TensorLike, dim: int, index: TensorLike, source: TensorLike, alpha: Operand = 1
) -> TensorLike:
    """`self` with entries added at places of an axis."""
    where = (*(None,) * (dim % self.ndim), raw(index))
    return index_put(self, where, source if alpha == 1 else source * alpha, accumulate=True)


@operator("index_copy.default")
def index_copy(self: TensorLike, dim: int, index: TensorLike, source: TensorLike) -> TensorLike:
    """`self` with other entries at places of an axis."""
    return index_put(self, (*(None,) * (dim % self.ndim), raw(index)), source)


@operator("index_fill.int_Scalar", "index_fill.int_Tensor")
def index_fill(self: TensorLike, dim: int, index: TensorLike, value: Operand) -> TensorLike:
    """`self` with one value at places of an axis."""
    return index_put(self, (*(None,) * (dim % self.ndim), raw(index)), value)


@operator("take.default")
def take(self: TensorLike, index: TensorLike) -> TensorLike:
    """Elements of the flat array."""
    return np.take(np.reshape(self, (-1,)), raw(index))


@operator("aminmax.default")
def aminmax(self: TensorLike, dim: int | None = None, keepdim: bool = False) -> Any:
    """The smallest and the largest."""
    axis = dim if self.ndim else None
    return np.min(self, axis=axis, keepdims=keepdim), np.max(self, axis=axis, keepdims=keepdim)


@operator("_safe_softmax.default")
def safe_softmax(self: TensorLike, dim: int, dtype: Any = None) -> TensorLike:
    """`softmax`, 0 where all is hidden."""
    values = raw(self)
    hidden = np.all(np.isneginf(values), axis=dim, keepdims=True)
    shown = np.where(hidden, 0, self)
    return np.where(hidden, 0, functional.softmax(shown, dim, dtype=dtype))


@operator("cosine_similarity.default")
def cosine_similarity(
    x1: TensorLike, x2: TensorLike, dim: int = 1, eps: float = 1e-8
) -> TensorLike:
    """The cosine of the angle between vectors along an axis."""
    return functional.cosine_similarity(x1, x2, dim, eps)


@operator("pdist.default", "_pdist_forward.default")
def pdist(self: TensorLike, p: float = 2) -> TensorLike:
    """The norms of the differences of all rows."""
    return functional.pdist(self, p)


@operator("pairwise_distance.default")
def pairwise_distance(
    x1: TensorLike, x2: TensorLike, p: float = 2, eps: float = 1e-6, keepdim: bool = False
) -> TensorLike:
    """The norms of differences along the last axis."""
    return functional.pairwise_distance(x1, x2, p, eps, keepdim)


@operator("isclose.default")
def isclose(
    self: TensorLike, other: TensorLike, rtol: float = 1e-5, atol: float = 1e-8,
    equal_nan: bool = False,
) -> Any:  # fmt: skip
    """Whether elements are about the same."""
    return np.isclose(raw(self), raw(other), rtol, atol, equal_nan)


@operator("count_nonzero.default", "count_nonzero.dim_IntList")
def count_nonzero(self: TensorLike, dim: Any = None) -> Any:
    """How many elements are not zero."""
    return np.sum(raw(self) != 0, axis=tuple(dim) if isinstance(dim, tuple | list) else dim)


@operator("histc.default")
def histc(self: TensorLike, bins: int = 100, min: float = 0, max: float = 0) -> Any:
    """How many elements lie in each of so many bins."""
    values = raw(self).reshape(-1)
    low, high = (values.min(), values.max()) if min == max == 0 else (min, max)
    if low == high:
        low, high = low - 1, high + 1
    return np.histogram(values, bins, (float(low), float(high)))[0].astype(values.dtype)


@operator("float_power.Tensor_Scalar", "float_power.Tensor_Tensor")
def float_power(self: TensorLike, exponent: Operand) -> TensorLike:
    """`self ** exponent` in double precision."""
    return np.power(self.astype(np.float64), exponent)


@operator("dist.default")
def dist(self: TensorLike, other: TensorLike, p: float = 2) -> Any:
    """The norm of the difference."""
    difference = np.reshape(self - other, (-1,))
    if math.isinf(p):
        return np.max(np.abs(difference))
    return np.linalg.norm(difference, p)
