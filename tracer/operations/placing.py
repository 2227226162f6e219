"""Putting elements at indices: the transpose of selecting them, and item assignment."""

import math

import numpy as np

from tracer.arrays import backend
from tracer.arrays.dtypes import is_half
from tracer.errors import ShapeError
from tracer.operations.arguments import operand, raw
from tracer.operations.indices import axis_of_range, kept_index, positions_of
from tracer.record.axes import UNKNOWN
from tracer.record.operation import Operation, operation


class Indexing(Operation):
    """Selects or places elements: linear, and no rule reads a value of the array."""

    saves: tuple[str, ...] = ()
    linear = True
    takes_complex = True
    #: indices are made the record's own by `kept_index` and `_getitem`, positions are new ones
    plain_options = True


@operation("embed")
class Embed(Indexing):
    """A stack of zeros `[V, *shape]` with stacks `[V, ...]` added at basic `indices` of `shape`."""

    def forward(*values, indices, shape):
        dtype = np.result_type(*values)
        whole = np.zeros_like(values[0], shape=(len(values[0]), *shape), dtype=dtype)
        for index, part in zip(indices, values, strict=True):
            whole[(slice(None), *index)] += part
        return whole

    def vjp(node, g):
        """g_values[v,u] = g[v,u][index] for each values [U, ...] at its index, g [V, U, *shape]."""
        return [
            lambda index=index: g[(slice(None), slice(None), *index)]
            for index in node.params["indices"]
        ]

    def jvp(node, tangents):
        """The stacks of all rows, embedded as one."""
        pairs = zip(tangents, node.params["indices"], strict=True)
        given = [(t, index) for t, index in pairs if t is not None]
        stacks = [np.reshape(t, (math.prod(t.shape[:2]), *t.shape[2:])) for t, _ in given]
        whole = Embed(*stacks, indices=tuple(i for _, i in given), shape=node.params["shape"])
        return np.reshape(whole, (len(given[0][0]), *node.shape))

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

    def jvp(node, tangents):
        """The stacks of all rows, added as one."""
        (t,) = tangents
        whole = ScatterAdd(np.reshape(t, (math.prod(t.shape[:2]), *t.shape[2:])), **node.params)
        return np.reshape(whole, (len(t), *node.shape))

    def examples(rng):
        return [((rng.random((2, 3)),), {"positions": np.array([0, 5, 5]), "shape": (2, 3)})]


@operation("index_set")
class IndexSet(Operation):
    """`x` with `value` at `index`: what item assignment would do, as a new array."""

    saves = ()
    linear = True
    takes_complex = True

    def forward(x, value, *, index):
        lossy = x.dtype.kind in "iub" or is_half(x.dtype)  # data, in which a value would be rounded
        lossy = lossy or (x.dtype.kind == "f" and np.iscomplexobj(value))
        out = x.astype(np.result_type(x, value)) if lossy else x.copy()
        out[index] = value
        return out

    def vjp(node, g):
        """g_x = g, but 0 at index; g_value[v] = g[v][index].

        Of values for the same place, the last one has the gradient, the others 0.
        """
        positions = positions_of(node.params["index"], node.shape)
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
        whole, axis = positions_of(node.params["index"], node.shape), axes[0]
        sample = whole // math.prod(node.shape[axis + 1 :]) % node.shape[axis]
        aligned = isinstance(axes[1], int) and whole.ndim - len(node.input_shape(1)) + axes[1]
        return axis if axis_of_range(sample, node.shape[axis]) == aligned else UNKNOWN

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
    return IndexSet(x, value, index=kept_index(index, x))


def index_add(x, index, value):
    """A copy of `x` with `value` added at `index`, where indices may repeat."""
    x = operand(x)
    index = kept_index(index, x)
    if not hasattr(value, "dtype"):  # a number, which decides no dtype, or a list
        value = np.asarray(value, np.result_type(raw(x), value) if np.ndim(value) == 0 else None)
        value = backend.of(x).from_host(value)
    picked = np.broadcast_to(value, raw(x)[index].shape)
    return x + ScatterAdd(picked[None], positions=positions_of(index, x.shape), shape=x.shape)[0]


OPERATIONS = [Embed, ScatterAdd, IndexSet]
