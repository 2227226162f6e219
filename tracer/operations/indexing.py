"""Selecting elements by an index, of arrays whose samples are known among them."""

import math

import numpy as np

from tracer.arrays import backend
from tracer.arrays.sampled import SampledArray
from tracer.cotangents import Gather, looked_up, samples_first
from tracer.operations.arguments import raw
from tracer.operations.arithmetic import NEAR_NORMS
from tracer.operations.indices import (
    SIMPLE,
    axis_of_basic,
    axis_of_range,
    is_advanced,
    is_basic,
    kept_index,
    kept_part,
    parts_of,
    place_of_arrays,
    positions_of,
    whole_rows,
)
from tracer.operations.placing import Embed, Indexing, ScatterAdd
from tracer.record.axes import UNKNOWN
from tracer.record.operation import operation
from tracer.record.recording import tensor_of
from tracer.record.tensor import Tensor
from tracer.sweep.placed import Placed


@operation("getitem")
class GetItem(Indexing):
    """`x[index]`; `index` is a tuple of what NumPy takes, with raw arrays.

    `diagonal` is the offset where it stands for the diagonal of the last two axes, a view in NumPy.
    """

    def forward(x, *, index, diagonal=None):
        if diagonal is not None:
            return np.diagonal(x, diagonal, -2, -1)
        if type(x) is not np.ndarray and not is_basic(index):
            backend.one_library(x, *index)
        return x[index]

    def vjp(node, g):
        """g_x[v] = zeros [*x.shape] with g[v] added at index, at each of equal indices."""
        index, shape = node.params["index"], node.input_shape(0)
        if is_basic(index):
            return (Placed(g, index, shape, Embed),)
        positions = positions_of(index, shape, backend.of(g))
        return (ScatterAdd(g, positions=positions, shape=shape),)

    def jvp(node, tangents):
        """t[v] at index."""
        (t,), index = tangents, node.params["index"]
        if is_basic(index):
            return t[(slice(None), *index)]
        return _at_positions(t, index, node.input_shape(0))

    def carry(node, slot, cotangent):
        """U_x[v,n,k] = sum_t U[v,n,t] over the t with rows[t] = k, a `Gather`.

        For an index that takes whole rows of x `[*K, D]`, and not all of them once; else None.
        """
        shape = node.input_shape(0)
        index = node.params["index"]
        whole = is_basic(index) and math.prod(shape) == math.prod(node.shape)
        if len(shape) < 2 or whole:
            return None  # a view of all elements
        if cotangent.use_terms() is None and cotangent.row_width != shape[-1]:
            return None
        rows = whole_rows(positions_of(index, shape), shape[-1])
        if rows is None:
            return None
        return looked_up(cotangent, backend.of(cotangent._source).from_host(rows), shape)

    def batch_axis(node, axes):
        index, shape, axis = node.params["index"], node.input_shape(0), axes[0]
        if is_basic(index):
            return axis_of_basic(index, shape, axis)
        whole = positions_of(index, shape) // max(1, math.prod(shape[axis + 1 :])) % shape[axis]
        return axis_of_range(whole, shape[axis])

    def moves(node):
        return (0,)

    def reindexes(node):
        return is_basic(node.params["index"])

    def views(node):
        index = node.params["index"]
        if is_basic(index):  # all axes by ints gives a number, which is a copy
            return bool(node.shape) or Ellipsis in index
        return node.params.get("diagonal") is not None

    def examples(rng):
        x, rows = rng.random((3, 4)), np.array([0, 2, 2])
        return [
            ((x,), {"index": (slice(None), slice(0, 4, 2))}),
            ((x,), {"index": (..., 1)}),
            ((x,), {"index": (None, slice(1, 3))}),
            ((x,), {"index": (rows,)}),
            ((x,), {"index": (rows, np.array([0, 1, 1]))}),
            ((x,), {"index": (slice(None), rows)}),
            ((x,), {"index": (x > 0.5,)}),
        ]


@operation("lookup")
class Lookup(Indexing):
    """`x[index]` for an array of ints that is itself recorded, so that its samples are followed."""

    saves = ("inputs",)
    linear = False
    linear_in = (0,)

    def forward(x, index):
        if type(x) is not np.ndarray:
            backend.one_library(x, index)
        return x[index]

    def vjp(node, g):
        """g_x[v,k] = sum_i g[v,i] over the i with index[i] = k."""
        shape = node.input_shape(0)
        positions = positions_of((raw(node.inputs[1]),), shape, backend.of(g))
        return ScatterAdd(g, positions=positions, shape=shape), None

    def jvp(node, tangents):
        """t[v] at the index."""
        return tangents[0][:, raw(node.inputs[1])]

    def batch_axis(node, axes):
        return UNKNOWN if axes[0] is not None else axes[1]

    def moves(node):
        return (0,)

    def parameter_cotangent(node, slot, g):
        """U[v,n,k] = sum_t g[v,n,t] over the t with index[n,t] = k, for x [K, D]."""
        shape = node.input_shape(0)
        if len(shape) != 2:
            return None
        index = samples_first(raw(node.inputs[1]), node.batch_axes[1]) % shape[0]
        right = samples_first(g, node.batch_axis, lead=1)
        count = len(index)
        index = index.reshape(count, math.prod(index.shape[1:]))
        return Gather(index, np.reshape(right, (len(g), *index.shape, shape[1])), shape)

    def carry(node, slot, cotangent):
        """U_x[v,n,k] = sum_t U[v,n,t] over the t with index[t] = k, for x [K, D]."""
        shape = node.input_shape(0)
        if slot or len(shape) != 2:
            return None
        return looked_up(cotangent, raw(node.inputs[1]) % shape[0], shape)

    def examples(rng):
        return [
            ((rng.random((4, 2)), np.array([[0, -1, 0], [2, 0, 3]])), {}),
            ((rng.random((3, 2, 2)), np.array([1, 1])), {}),
        ]


#: in the index of a `LookupAt`, the place of an array that is an input; those that stand for a mask
AT, MASK, OF_MASK = "at", "mask", "of the mask"


@operation("lookup_at")
class LookupAt(Indexing):
    """`x[index]` with arrays of ints that are recorded at the places of strings in `index`."""

    saves = ("inputs",)
    linear = False
    linear_in = (0,)

    def forward(x, *arrays, index):
        if type(x) is not np.ndarray:
            backend.one_library(x, *arrays)
        return x[_filled(index, arrays)]

    def vjp(node, g):
        """g_x[v] = zeros [*x.shape] with g[v] added at index, at each of equal indices."""
        shape = node.input_shape(0)
        index = _filled(node.params["index"], map(raw, node.inputs[1:]))
        positions = positions_of(index, shape, backend.of(g))
        return (ScatterAdd(g, positions=positions, shape=shape), *(None,) * (len(node.parents) - 1))

    def jvp(node, tangents):
        """t[v] at index."""
        index = _filled(node.params["index"], map(raw, node.inputs[1:]))
        return _at_positions(tangents[0], index, node.input_shape(0))

    def batch_axis(node, axes):
        """That of the arrays among the axes that they are broadcast to."""
        first, *others = axes
        if first is not None:
            return UNKNOWN
        index, shape = node.params["index"], node.input_shape(0)
        ranks = [len(node.input_shape(1 + i)) for i in range(len(others))]
        given = [np.ndim(part) for part in index if is_advanced(part) and type(part) is not str]
        rank = max(ranks + given)
        found = {
            axis + rank - own
            for axis, own in zip(others, ranks, strict=True) if isinstance(axis, int)
        }  # fmt: skip
        if len(found) != 1:
            return UNKNOWN
        return found.pop() + place_of_arrays(index, len(shape))

    def moves(node):
        return (0,)

    def examples(rng):
        x, i, j = rng.random((3, 4, 2)), np.array([[0, 2, 2]]), np.array([[1], [0]])
        return [
            ((x, i, j), {"index": (AT, AT)}),
            ((x, j), {"index": (slice(None), AT, slice(1))}),
            ((x, i), {"index": (AT, slice(None), 1)}),
        ]


def _at_positions(t, index, shape):
    """`t[v][index]` for each row: with a further axis before others, an index may mean another."""
    flat = np.reshape(t, (len(t), math.prod(shape)))
    return flat[:, positions_of(index, shape, backend.of(raw(t)))]


def _filled(index, arrays):
    arrays = iter(arrays)
    return tuple([next(arrays) if type(part) is str else part for part in index])


def _getitem(self, index):
    kind = type(index)
    if kind in SIMPLE:
        return GetItem(self, index=(index,))
    if kind is tuple and SIMPLE.issuperset(map(type, index)):
        return GetItem(self, index=index)
    if kind is np.ndarray and index.dtype.kind in "iub":
        return GetItem(self, index=(index.copy(),))
    if kind is SampledArray:
        index, kind = tensor_of(index), Tensor
    if kind is Tensor and index.node is not None and index.dtype.kind in "iu":
        return Lookup(self, index)
    if any(_is_followed(part) for part in parts_of(index)):
        return _looked_up(self, parts_of(index))
    return GetItem(self, index=kept_index(index, self))


def _is_followed(part):
    """Whether an entry of an index is an array whose samples are known."""
    if type(part) is Tensor:
        return part.ndim > 0 and part.node is not None and part.dtype.kind in "iub"
    return type(part) is SampledArray and part.dtype.kind in "iub"


def _looked_up(x, index):
    """`x[index]` with the arrays whose samples are known as inputs."""
    arrays, pattern = [], []
    for part in index:
        if not _is_followed(part):
            pattern.append(kept_part(part, x))
            continue
        kept = tensor_of(part)
        is_mask = kept.dtype.kind == "b"
        made = np.nonzero(kept) if is_mask else (kept,)
        arrays += made
        pattern += [MASK, *[OF_MASK] * (len(made) - 1)] if is_mask else [AT]
    return LookupAt(x, *arrays, index=tuple(pattern))


Tensor.__getitem__ = _getitem
NEAR_NORMS.add(GetItem)

OPERATIONS = [GetItem, Lookup, LookupAt]
