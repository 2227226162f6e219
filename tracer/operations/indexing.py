"""Selecting elements and adding at indices: each is the other's transpose."""

import math

import numpy as np

from tracer.arrays import backend
from tracer.arrays.dtypes import is_half
from tracer.arrays.sampled import SampledArray
from tracer.cotangents import Gather, looked_up, samples_first
from tracer.errors import ShapeError, TracingError
from tracer.operations.arguments import (
    operand,
    raw,
)
from tracer.operations.arithmetic import NEAR_NORMS
from tracer.record.axes import UNKNOWN
from tracer.record.operation import Operation, operation
from tracer.record.recording import tensor_of
from tracer.record.tensor import Tensor
from tracer.sweep.placed import Placed


def _parts(index):
    return index if isinstance(index, tuple) else (index,)


_SIMPLE = frozenset((int, slice, type(None), type(Ellipsis)))


def _basic(index):
    """Whether an index selects each element at most once by its form alone."""
    return _SIMPLE.issuperset(map(type, index)) or all(
        type(i) in _SIMPLE or isinstance(i, slice | np.integer) for i in index
    )


class Indexing(Operation):
    """Selects or places elements: linear, and no rule reads a value of the array."""

    saves: tuple[str, ...] = ()
    linear = True
    #: indices are made the record's own by `_plain_index` and `_getitem`, positions are new ones
    plain_options = True


@operation("getitem")
class GetItem(Indexing):
    """`x[index]`; `index` is a tuple of what NumPy takes, with raw arrays.

    `diagonal` is the offset where it stands for the diagonal of the last two axes, a view in NumPy.
    """

    def forward(x, *, index, diagonal=None):
        if diagonal is not None:
            return np.diagonal(x, diagonal, -2, -1)
        if type(x) is not np.ndarray and not _basic(index):
            backend.one_library(x, *index)
        return x[index]

    def vjp(node, g):
        """g_x[v] = zeros [*x.shape] with g[v] added at index, at each of equal indices."""
        index, shape = node.params["index"], node.input_shape(0)
        if _basic(index):
            return (Placed(g, index, shape, Embed),)
        positions = _positions(index, shape, backend.of(g))
        return (ScatterAdd(g, positions=positions, shape=shape),)

    def carry(node, slot, cotangent):
        """U_x[v,n,k] = sum_t U[v,n,t] over the t with rows[t] = k, a `Gather`.

        For an index that takes whole rows of x `[*K, D]`, and not all of them once; else None.
        """
        shape = node.input_shape(0)
        index = node.params["index"]
        whole = _basic(index) and math.prod(shape) == math.prod(node.shape)
        if len(shape) < 2 or whole:
            return None  # a view of all elements
        if cotangent.use_terms() is None and cotangent.row_width != shape[-1]:
            return None
        rows = _whole_rows(_positions(index, shape), shape[-1])
        if rows is None:
            return None
        return looked_up(cotangent, backend.of(cotangent._source).from_host(rows), shape)

    def batch_axis(node, axes):
        index, shape, axis = node.params["index"], node.input_shape(0), axes[0]
        if _basic(index):
            return _axis_of_basic(index, shape, axis)
        whole = _positions(index, shape) // max(1, math.prod(shape[axis + 1 :])) % shape[axis]
        return _axis_of_range(whole, shape[axis])

    def moves(node):
        return (0,)

    def reindexes(node):
        return _basic(node.params["index"])

    def views(node):
        index = node.params["index"]
        if _basic(index):  # all axes by ints gives a number, which is a copy
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


def _positions(index, shape, library=backend.NUMPY):
    """The positions in the flattened array that `index` selects, shaped like the result.

    In this library: on a device they need not go to the host.
    """
    index = tuple(backend.moved(i, library) if backend.is_array(i) else i for i in index)
    return library.namespace.arange(math.prod(shape)).reshape(shape)[index]


def _whole_rows(positions, width):
    """Which rows, of `width`, flat positions `[*R, D]` are of; None where they take rows apart."""
    if positions.shape[-1:] != (width,) or not width:
        return None
    rows = positions[..., 0] // width
    whole = (positions == rows[..., None] * width + np.arange(width)).all()
    return rows if whole else None


def _axis_of_basic(index, shape, axis):
    """Where an axis of `shape` is after a basic index; UNKNOWN if some of it is left out."""
    parts = list(index)
    taken = sum(part is not None and part is not Ellipsis for part in parts)
    rest = [slice(None)] * (len(shape) - taken)
    at = next((i for i, part in enumerate(parts) if part is Ellipsis), len(parts))
    parts[at : at + 1] = rest
    source = target = 0
    for part in parts:
        if part is None:
            target += 1
            continue
        if source == axis:
            size = shape[axis]
            whole = isinstance(part, slice) and part.indices(size) == (0, size, 1)
            return target if whole else UNKNOWN
        source += 1
        target += isinstance(part, slice)
    return UNKNOWN


def _axis_of_range(coordinate, size):
    """The axis along which an array of coordinates counts 0, 1, ..., size - 1."""
    for axis, length in enumerate(coordinate.shape):
        if length == size and (coordinate.size or not size):  # of no entry, any axis would do
            counting = np.arange(size).reshape([-1 if i == axis else 1
                                                for i in range(coordinate.ndim)])  # fmt: skip
            if (coordinate == counting).all():
                return axis
    return UNKNOWN


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
        positions = _positions((raw(node.inputs[1]),), shape, backend.of(g))
        return ScatterAdd(g, positions=positions, shape=shape), None

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


#: in the index of a `LookupAt`, the place of an array that is an input
AT = "at"


@operation("lookup_at")
class LookupAt(Indexing):
    """`x[index]` with arrays of ints that are recorded at the places of `AT` in `index`."""

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
        positions = _positions(index, shape, backend.of(g))
        return (ScatterAdd(g, positions=positions, shape=shape), *(None,) * (len(node.parents) - 1))

    def batch_axis(node, axes):
        """That of the arrays among the axes that they are broadcast to."""
        first, *others = axes
        if first is not None:
            return UNKNOWN
        index, shape = node.params["index"], node.input_shape(0)
        ranks = [len(node.input_shape(1 + i)) for i in range(len(others))]
        given = [np.ndim(part) for part in index if _is_advanced(part) and part is not AT]
        rank = max(ranks + given)
        found = {
            axis + rank - own
            for axis, own in zip(others, ranks, strict=True) if isinstance(axis, int)
        }  # fmt: skip
        if len(found) != 1:
            return UNKNOWN
        return found.pop() + _place_of_arrays(index, len(shape))

    def moves(node):
        return (0,)

    def examples(rng):
        x, i, j = rng.random((3, 4, 2)), np.array([[0, 2, 2]]), np.array([[1], [0]])
        return [
            ((x, i, j), {"index": (AT, AT)}),
            ((x, j), {"index": (slice(None), AT, slice(1))}),
            ((x, i), {"index": (AT, slice(None), 1)}),
        ]


def _filled(index, arrays):
    arrays = iter(arrays)
    return tuple([next(arrays) if type(part) is str else part for part in index])


def _is_advanced(part):
    return not (part is None or part is Ellipsis or isinstance(part, slice))


def _place_of_arrays(index, rank):
    """Before which axis of the result those of the arrays are, by NumPy's rule."""
    parts = list(index)
    taken = sum(part is not None and part is not Ellipsis for part in parts)
    at = next((i for i, part in enumerate(parts) if part is Ellipsis), len(parts))
    parts[at : at + 1] = [slice(None)] * (rank - taken)
    places = [i for i, part in enumerate(parts) if _is_advanced(part)]
    together = places[-1] - places[0] == len(places) - 1
    return places[0] if together else 0


@operation("embed")
class Embed(Indexing):
    """A stack of zeros `[V, *shape]` with stacks `[V, ...]` added at basic `indices` of `shape`."""

    def forward(*values, indices, shape):
        whole = np.zeros_like(values[0], shape=(len(values[0]), *shape))
        for index, part in zip(indices, values, strict=True):
            whole[(slice(None), *index)] += part
        return whole

    def vjp(node, g):
        """g_values[v,u] = g[v,u][index] for each values [U, ...] at its index, g [V, U, *shape]."""
        return [
            lambda index=index: g[(slice(None), slice(None), *index)]
            for index in node.params["indices"]
        ]

    def examples(rng):
        some = (slice(0, 4, 2),)
        return [
            ((rng.random((2, 2)),), {"indices": (some,), "shape": (4,)}),
            ((rng.random((2, 2)), rng.random((2, 3))),
             {"indices": (some, (slice(1, 4),)), "shape": (4,)}),
        ]  # fmt: skip


@operation("scatter_add")
class ScatterAdd(Indexing):
    """A stack of zeros `[V, *shape]` with `[V, *positions.shape]` added at flat positions."""

    def forward(values, *, positions, shape):
        flat = values.reshape(len(values), math.prod(values.shape[1:]))
        added = backend.of(values).scatter_add(flat, positions.reshape(-1), math.prod(shape))
        return added.reshape(len(values), *shape)

    def vjp(node, g):
        """g_values[v,u,i] = g[v,u,positions[i]], with the axes `shape` of g flattened."""
        positions = backend.of(g).from_host(node.params["positions"])
        flat = np.reshape(g, (*g.shape[:2], math.prod(g.shape[2:])))
        return (flat[..., positions],)

    def examples(rng):
        return [((rng.random((2, 3)),), {"positions": np.array([0, 5, 5]), "shape": (2, 3)})]


@operation("index_set")
class IndexSet(Operation):
    """`x` with `value` at `index`: what item assignment would do, as a new array."""

    saves = ()
    linear = True

    def forward(x, value, *, index):
        lossy = x.dtype.kind in "iub" or is_half(x.dtype)  # data, in which a value would be rounded
        out = x.astype(np.result_type(x, value)) if lossy else x.copy()
        out[index] = value
        return out

    def vjp(node, g):
        """g_x = g, but 0 at index; g_value[v] = g[v][index].

        Of values for the same place, the last one has the gradient, the others 0.
        """
        positions = _positions(node.params["index"], node.shape)
        keep = np.ones(math.prod(node.shape), dtype=bool)
        keep[positions.reshape(-1)] = False
        last = np.zeros(keep.size, dtype=int)  # of several values for one place the last one counts
        last[positions.reshape(-1)] = np.arange(positions.size)
        counts = last[positions] == np.arange(positions.size).reshape(positions.shape)
        there = backend.of(g).from_host
        keep, counts, positions = map(there, (keep.reshape(node.shape), counts, positions))
        flat = np.reshape(g, (len(g), math.prod(g.shape[1:])))
        return (
            lambda: np.where(keep, g, 0),
            lambda: np.where(counts, flat[:, positions], 0),
        )

    def batch_axis(node, axes):
        if not isinstance(axes[0], int) or axes[1] is None:
            return axes[0] if isinstance(axes[0], int) else UNKNOWN
        whole, axis = _positions(node.params["index"], node.shape), axes[0]
        sample = whole // math.prod(node.shape[axis + 1 :]) % node.shape[axis]
        aligned = isinstance(axes[1], int) and whole.ndim - len(node.input_shape(1)) + axes[1]
        return axis if _axis_of_range(sample, node.shape[axis]) == aligned else UNKNOWN

    def moves(node):
        return (0, 1)

    def examples(rng):
        twice = (np.array([1, 0, 1]), np.array([2, 3, 2]))
        x = rng.random((3, 4))
        return [((x, rng.random(4)), {"index": (1,)}), ((x, rng.random(3)), {"index": twice})]


def index_set(x, index, value):
    """A copy of `x` with `value` at `index`: the functional form of `x[index] = value`."""
    x = operand(x)
    to, given = raw(x).dtype, getattr(raw(value), "dtype", None)
    if given is not None and not np.can_cast(given, to, "same_kind"):
        raise ShapeError(f"index_set puts {given} into {to}, where values are cut off: use astype")
    return IndexSet(x, value, index=_plain_index(index, x))


def index_add(x, index, value):
    """A copy of `x` with `value` added at `index`, where indices may repeat."""
    x = operand(x)
    index = _plain_index(index, x)
    picked = np.broadcast_to(value, raw(x)[index].shape)
    return x + ScatterAdd(picked[None], positions=_positions(index, x.shape), shape=x.shape)[0]


def _plain_index(index, x):
    return tuple(_kept_index(part, x) for part in _parts(index))


def _kept_index(part, x):
    """One entry of an index of `x` as the record keeps it: with arrays of its own."""
    part = raw(part)
    if type(part) in _SIMPLE:
        return part
    if isinstance(part, list | tuple):
        part = np.array(part) if len(part) else np.array(part, np.intp)
        part = backend.of(x).from_host(part)
    elif type(part) is np.ndarray or (not isinstance(part, np.generic) and backend.is_array(part)):
        part = part.copy()
    dtype = getattr(part, "dtype", None)
    if dtype is not None and dtype.kind not in "iub":
        way = "slices and axes go into a tuple, x[a, b]" if dtype.kind == "O" else "use astype(int)"
        raise TracingError(f"an index is an array of ints or booleans, got {dtype}: {way}")
    return part


def _getitem(self, index):
    kind = type(index)
    if kind in _SIMPLE:
        return GetItem(self, index=(index,))
    if kind is tuple and _SIMPLE.issuperset(map(type, index)):
        return GetItem(self, index=index)
    if kind is np.ndarray and index.dtype.kind in "iub":
        return GetItem(self, index=(index.copy(),))
    if kind is SampledArray:
        index, kind = tensor_of(index), Tensor
    if kind is Tensor and index.node is not None and index.dtype.kind in "iu":
        return Lookup(self, index)
    if any(_is_followed(part) for part in _parts(index)):
        return _looked_up(self, _parts(index))
    return GetItem(self, index=_plain_index(index, self))


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
            pattern.append(_kept_index(part, x))
            continue
        kept = tensor_of(part)
        made = np.nonzero(kept) if kept.dtype.kind == "b" else (kept,)
        arrays += made
        pattern += [AT] * len(made)
    return LookupAt(x, *arrays, index=tuple(pattern))


Tensor.__getitem__ = _getitem
NEAR_NORMS.add(GetItem)

OPERATIONS = [GetItem, Lookup, LookupAt, Embed, ScatterAdd, IndexSet]
