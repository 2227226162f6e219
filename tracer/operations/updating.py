"""`tracer.at(a)[index].set(values)` and its kin: what item assignment would do, as a new array."""

import math

import numpy as np

from tracer.arrays import backend
from tracer.arrays.dtypes import meeting
from tracer.errors import ShapeError
from tracer.operations.arguments import operand, raw
from tracer.operations.indices import kept_index, positions_of
from tracer.operations.placing import ScatterAdd, index_add, index_set
from tracer.record.axes import UNKNOWN
from tracer.record.operation import Operation, operation
from tracer.sweep.slopes import broadcast_tangent, first

#: what an update does with what is there and what is given -> NumPy's function of both
UPDATES = {"multiply": "multiply", "min": "minimum", "max": "maximum"}


@operation("index_update")
class IndexUpdate(Operation):
    """`x` with products (smallest, largest) of what is at `index` and of each `value` given for it.

    An index may repeat: then all of its values count. Ties share a gradient evenly.
    """

    def forward(x, value, *, index, how):
        out = x.astype(np.result_type(x, value))
        if how == "multiply" and type(x) is not np.ndarray:  # CuPy has no multiply.at
            _multiply_at(out, positions_of(index, x.shape), value)
        else:
            getattr(backend.namespace(x), UPDATES[how]).at(out, index, value)
        return out

    def vjp(node, g):
        """Of products: g_x = g prod_j v_j, g_v[j] = g[i_j] x[i_j] prod_k v_k for k != j, i_k = i_j.

        Of extremes: g / n to each of the n that attain it, of x at a place and the values for it.
        """
        places = backend.of(g).from_host(positions_of(node.params["index"], node.shape))
        of_x, of_value = _slopes(node, places, g.dtype)
        flat = np.reshape(g, (len(g), math.prod(node.shape)))
        return lambda: _times(node, g, of_x()), lambda: _times(node, flat[:, places], of_value())

    def jvp(node, tangents):
        """The same slopes times t_x, and times t_v added up at the values' places."""
        like, shape = first(tangents), node.shape
        places = backend.of(like).from_host(positions_of(node.params["index"], shape))
        of_x, of_value = _slopes(node, places, node.dtype)
        t_x, t_value = (None if t is None else meeting(t, node.dtype) for t in tangents)
        moved = 0 if t_x is None else _times(node, t_x, of_x())
        if t_value is None:
            return moved
        rows = _times(node, broadcast_tangent(t_value, places.shape), of_value())
        return moved + ScatterAdd(rows, positions=places, shape=shape)

    def batch_axis(node, axes):
        return axes[0] if axes[1] is None and isinstance(axes[0], int) else UNKNOWN

    def examples(rng):
        twice = (np.array([1, 0, 1]), np.array([2, 3, 2]))
        x, few = rng.uniform(0.5, 1.5, (3, 4)), rng.uniform(0.5, 1.5, 3)
        return [
            ((x, rng.uniform(0.5, 1.5, 4)), {"index": (1,), "how": "multiply"}),
            *(((x, few), {"index": twice, "how": how}) for how in UPDATES),
        ]


def _slopes(node, places, dtype):
    """The derivatives of a place by x there, and by each value given for it, to be called for."""
    (x, value), how = node.inputs, node.params["how"]
    given = meeting(np.broadcast_to(value, places.shape), dtype)
    if how == "multiply":
        ones = np.ones_like(raw(given), shape=node.shape)
        return (
            lambda: IndexUpdate(ones, given, index=node.params["index"], how=how),
            lambda: (
                meeting(np.reshape(x, (-1,)), dtype)[places]
                * product_of_others_in_groups(given, places)
            ),
        )
    best = raw(node.output)
    stays = (raw(x) == best) | (best != best)
    wins = (raw(given) == best.reshape(-1)[places]) | (best != best).reshape(-1)[places]
    counts = ScatterAdd(wins.astype(dtype)[None], positions=places, shape=node.shape)[0]
    share = 1 / np.maximum(counts + stays, 1)
    return (
        lambda: np.where(stays, share, 0),
        lambda: np.where(wins, np.reshape(share, (-1,))[places], 0),
    )


def _times(node, stack, slope):
    """`stack * slope`; of extremes nothing where that is zero, also of what is infinite."""
    if node.params["how"] != "multiply":
        stack = np.where(slope == 0, 0, stack)
    return stack * slope


def product_of_others_in_groups(values, groups):
    """For each of `values` the product of the other ones of its group; `groups` are integers.

    In log2(size of the largest group) multiplications of whole arrays.
    """
    labels = backend.to_host(groups).reshape(-1)
    order = np.argsort(labels, kind="stable")
    labels, flat = labels[order], np.reshape(values, (-1,))[backend.of(values).from_host(order)]
    before = _products_before(flat, labels)
    after = np.flip(_products_before(np.flip(flat), labels[::-1]))
    back = backend.of(values).from_host(np.argsort(order))
    return np.reshape((before * after)[back], values.shape)


def _products_before(x, labels):
    """For each element of a vector the product of those before it that have its label, in a row."""
    where = backend.of(x).from_host
    follows = np.concatenate([[False], labels[1:] == labels[:-1]])[: len(labels)]
    x = np.where(where(follows), np.concatenate([x[:1], x[:-1]]), 1)
    step = 1
    while (same := labels[step:] == labels[:-step]).any():
        x = np.concatenate([x[:step], x[step:] * np.where(where(same), x[:-step], 1)])
        step *= 2
    return x


def _multiply_at(out, places, value):
    """`np.multiply.at(out, index, value)` for the flat places that the index stands for."""
    there = backend.of(out).from_host
    value = there(np.asarray(value)) if isinstance(value, int | float) else value
    flat = np.reshape(np.broadcast_to(value, places.shape), (-1,)).astype(out.dtype)
    order = np.argsort(places.reshape(-1), kind="stable")
    labels = places.reshape(-1)[order]
    flat = flat[there(order)]
    products = _products_before(flat, labels) * flat
    last = np.concatenate([labels[1:] != labels[:-1], [True]])[: len(labels)]
    whole, chosen = out.reshape(-1), there(labels[last])
    whole[chosen] = whole[chosen] * products[there(np.flatnonzero(last))]


class At:
    """An array, of which an index says where the next one differs; see `at`."""

    def __init__(self, array):
        self._array = operand(array)

    def __getitem__(self, index):
        return Place(self._array, index)


class Place:
    """Some elements of an array: each method gives a new array in which they are others.

    Values are broadcast to the shape of `array[index]`. Where the index names an element several
    times, the last value is set, and all of them are added, multiplied by or compared with.
    """

    __slots__ = ("_array", "_index")

    def __init__(self, array, index):
        self._array, self._index = array, index

    def set(self, values):
        """`array[index] = values`."""
        return index_set(self._array, self._index, values)

    def add(self, values):
        """`array[index] += values`, and so for each time that an element is named."""
        return index_add(self._array, self._index, values)

    def multiply(self, values):
        """`array[index] *= values`, and so for each time that an element is named."""
        return self._updated(values, "multiply")

    def min(self, values):
        """The smaller of each element and the values for it."""
        return self._updated(values, "min")

    def max(self, values):
        """The larger of each element and the values for it."""
        return self._updated(values, "max")

    def _updated(self, values, how):
        array = self._array
        values = values if isinstance(values, int | float) else operand(values)
        wide = np.result_type(array.dtype, raw(values))
        if not np.can_cast(wide, array.dtype, "same_kind"):
            raise ShapeError(
                f"tracer.at(a)[i].{how} of {array.dtype} gives {wide}, where values are cut off: "
                f"write tracer.at(a.astype({wide}))"
            )
        return IndexUpdate(array, values, index=kept_index(self._index, array), how=how)


def at(array):
    """`tracer.at(a)[index].set(values)`: a new array in place of `a[index] = values`.

    And so `.add`, `.multiply`, `.min` and `.max`, as in JAX. `a` and the values may be tensors,
    arrays or numbers, and `index` is any of NumPy's. An array that is built in a loop:

    ```python
    a = np.zeros(3)
    for i in range(3):
        a = tracer.at(a)[i].set(t**i)
    ```
    """
    return At(array)


OPERATIONS = [IndexUpdate]
