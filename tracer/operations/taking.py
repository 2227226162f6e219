"""Taking along an axis, by a condition, on a diagonal or a triangle: by indices that are made."""

import math

import numpy as np

from tracer.arrays import backend
from tracer.arrays.sampled import SampledArray
from tracer.errors import ShapeError
from tracer.operations.arguments import (
    integer,
    one_axis,
    operand,
    raw,
    several_axes,
)
from tracer.operations.indexing import GetItem
from tracer.operations.placing import Indexing, ScatterAdd
from tracer.record.axes import UNKNOWN
from tracer.record.dispatch import implements, refuse_out
from tracer.record.operation import operation
from tracer.record.tensor import Tensor


@operation("take_along_axis")
class TakeAlongAxis(Indexing):
    """`np.take_along_axis` with a negative axis and raw indices."""

    saves = ("inputs",)

    def forward(x, indices, *, axis):
        if type(x) is not np.ndarray:
            backend.one_library(x, indices)
        return np.take_along_axis(x, indices, axis)

    def vjp(node, g):
        """g_x[v,...,k,...] = sum_i g[v,...,i,...] over the i with indices[...,i,...] = k."""
        shape, indices = node.input_shape(0), raw(node.inputs[1])
        every = backend.namespace(indices).arange(math.prod(shape)).reshape(shape)
        positions = np.take_along_axis(every, indices, node.params["axis"])
        return ScatterAdd(g, positions=positions, shape=shape), None

    def jvp(node, tangents):
        """t[v], taken alike."""
        (t, _), indices = tangents, raw(node.inputs[1])
        indices = np.broadcast_to(indices, (len(t), *indices.shape))
        return TakeAlongAxis(t, indices, axis=node.params["axis"])

    def batch_axis(node, axes):
        axis = next(a for a in axes if isinstance(a, int))
        return UNKNOWN if axis - len(node.shape) == node.params["axis"] else axis

    def moves(node):
        return (0,)

    def examples(rng):
        return [((rng.random((3, 4)), np.array([[0, 0], [1, 3], [2, 2]])), {"axis": -1})]


@implements(np.take)
def take(a, indices, axis=None, out=None, mode="raise"):
    if out is not None:
        refuse_out("take", out)
    a = operand(a)
    if axis is None:
        a, axis = np.ravel(a), 0
    axis = one_axis(axis, a.ndim)
    if type(indices) is not Tensor and type(indices) is not SampledArray:
        indices = _positions_of(indices, a)
    if mode != "raise":
        size = a.shape[axis]
        if mode not in ("wrap", "clip"):
            raise ShapeError(f"np.take has the modes 'raise', 'wrap' and 'clip', got {mode!r}")
        indices = raw(indices)
        indices = np.mod(indices, size) if mode == "wrap" else np.clip(indices, 0, size - 1)
        indices = backend.of(a).from_host(indices)
    if axis == -a.ndim:
        return a[indices]
    return a[(slice(None),) * (axis + a.ndim) + (indices,)]


def _positions_of(indices, a):
    """Indices of `np.take` as an array of ints: what holds them means no more than that."""
    if type(indices) is not np.ndarray and not backend.is_array(indices):
        indices = backend.of(a).from_host(backend.as_array(indices))
    if indices.dtype.kind == "b" or indices.size == 0:
        return indices.astype(np.intp)
    return indices


@implements(np.compress)
def compress(condition, a, axis=None, out=None):
    """The slices of `a` along `axis` where the condition, which may be shorter, holds."""
    refuse_out("compress", out)
    a, condition = operand(a), operand(condition)
    if condition.ndim != 1:
        raise ShapeError(f"np.compress takes a condition of one axis, got {condition.ndim}")
    if axis is None:
        a, axis = np.ravel(a), 0
    return np.take(a, _where_true(condition, a), axis)


@implements(np.extract)
def extract(condition, arr):
    arr = np.ravel(operand(arr))
    return arr[_where_true(np.ravel(operand(condition)), arr)]


def _where_true(condition, a):
    """The indices of what is not zero in a vector, beside `a`."""
    index = np.nonzero(condition)[0]
    return backend.of(a).from_host(index) if type(index) is np.ndarray else index


@implements(np.take_along_axis)
def take_along_axis(arr, indices, axis=-1):
    indices = operand(indices)
    if axis is None:
        return np.take_along_axis(np.ravel(arr), np.ravel(indices), 0)
    axis = one_axis(axis, arr.ndim)
    if indices.ndim != arr.ndim:
        raise ShapeError(
            f"np.take_along_axis takes indices with the array's {arr.ndim} axes, got {indices.ndim}"
        )
    shape = list(np.broadcast_shapes(*(
        [1 if i - x.ndim == axis else n for i, n in enumerate(x.shape)] for x in (arr, indices)
    )))  # fmt: skip
    whole, shape[axis] = shape.copy(), indices.shape[axis]
    whole[axis] = arr.shape[axis]
    return TakeAlongAxis(np.broadcast_to(arr, whole), np.broadcast_to(indices, shape), axis=axis)


@implements(np.diagonal)
def diagonal(a, offset=0, axis1=0, axis2=1):
    offset = integer(offset, "an offset")
    axes = several_axes((axis1, axis2), a.ndim)
    moved = np.moveaxis(a, axes, (-2, -1))
    rows, columns = moved.shape[-2:]
    count = max(0, min(rows + min(offset, 0), columns - max(offset, 0)))
    i = backend.of(a).from_host(np.arange(count))
    index = (Ellipsis, i - min(offset, 0), i + max(offset, 0))
    return GetItem(moved, index=index, diagonal=offset)


@implements(np.diag)
def diag(v, k=0):
    k = integer(k, "`k` of np.diag")
    if v.ndim == 2:
        return np.diagonal(v, k)
    if v.ndim != 1:
        raise ShapeError(f"np.diag takes a vector or a matrix, got {v.ndim} axes")
    size = v.shape[0] + abs(k)
    i = np.arange(v.shape[0])
    positions = (i - min(k, 0)) * size + i + max(k, 0)
    return ScatterAdd(v[None], positions=positions, shape=(size, size))[0]


@implements(np.tril)
def tril(m, k=0):
    return np.where(_triangle(m, k), m, 0)


@implements(np.triu)
def triu(m, k=0):
    return np.where(_triangle(m, k - 1), 0, m)


def _triangle(m, k):
    return backend.of(raw(m)).from_host(np.tri(*m.shape[-2:], k=k, dtype=bool))


@implements(np.trace)
def trace(a, offset=0, axis1=0, axis2=1, dtype=None, out=None):
    refuse_out("trace", out)
    return np.sum(np.diagonal(a, offset, axis1, axis2), axis=-1, dtype=dtype)


@implements(np.select)
def select(condlist, choicelist, default=0):
    if len(condlist) != len(choicelist) or not len(condlist):
        raise ShapeError(
            f"np.select takes a choice for each condition, got {len(condlist)} conditions and "
            f"{len(choicelist)} choices"
        )
    out = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        if operand(raw(condition)).dtype.kind != "b":
            raise ShapeError("np.select takes conditions of booleans: write x != 0")
        out = np.where(condition, choice, out)
    return out


OPERATIONS = [TakeAlongAxis]
