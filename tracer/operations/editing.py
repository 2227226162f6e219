"""Appending, inserting and leaving out, and arrays of blocks: NumPy's functions, all linear."""

import numpy as np

from tracer.arrays import backend
from tracer.errors import ShapeError
from tracer.operations.arguments import cast, one_axis, operand, raw
from tracer.record.dispatch import implements


@implements(np.append)
def append(arr, values, axis=None):
    arr, values = operand(arr), operand(values)
    if axis is None:
        arr, values, axis = np.ravel(arr), np.ravel(values), 0
    return np.concatenate([arr, values], axis=axis)


@implements(np.delete)
def delete(arr, obj, axis=None):
    arr, axis = _along(arr, axis)
    kept = np.delete(np.arange(arr.shape[axis]), raw(obj))
    return np.take(arr, backend.of(arr).from_host(kept), axis)


@implements(np.insert)
def insert(arr, obj, values, axis=None):
    """`values` before the indices `obj`: a copy of the array in which both lie."""
    arr, axis = _along(arr, axis)
    values, obj = cast(operand(values), arr.dtype), raw(obj)
    count, rank = arr.shape[axis], arr.ndim
    values = np.reshape(values, (1,) * (rank - values.ndim) + values.shape)
    if not isinstance(obj, slice) and np.ndim(obj) == 0:
        values = np.moveaxis(values, 0, axis)  # NumPy's rule for one index
    of_index = np.insert(np.arange(count), obj, -1)
    given = max(len(of_index) - count, 1)
    if given == 1:
        given = values.shape[axis]
    shape = tuple(given if i == axis + rank else n for i, n in enumerate(arr.shape))
    marks = np.arange(count, count + given)
    if np.ndim(obj) and np.size(obj) == 1:
        obj = np.reshape(obj, ())
    order = np.insert(np.arange(count), obj, marks)
    both = np.concatenate([arr, np.broadcast_to(values, shape)], axis=axis)
    return np.take(both, backend.of(arr).from_host(order), axis)


def _along(arr, axis):
    """The array and the negative axis that is worked along, of it flattened if there is none."""
    arr = operand(arr)
    if axis is None:
        arr, axis = np.ravel(arr), -1
    return arr, one_axis(axis, arr.ndim)


@implements(np.block)
def block(arrays):
    depth = _depth(arrays)
    ranks = [operand(leaf).ndim for leaf in _leaves(arrays)]
    return _blocks(arrays, depth, max([depth, *ranks]))


def _depth(nested):
    if not isinstance(nested, list):
        return 0
    depths = {_depth(each) for each in nested}
    if len(depths) != 1:
        raise ShapeError("np.block takes lists that are nested equally deep, and none is empty")
    return depths.pop() + 1


def _leaves(nested):
    if not isinstance(nested, list):
        return [nested]
    return [leaf for each in nested for leaf in _leaves(each)]


def _blocks(nested, depth, rank):
    """Blocks side by side: the innermost lists along the last axis."""
    if not isinstance(nested, list):
        made = operand(nested)
        return np.reshape(made, (1,) * (rank - made.ndim) + made.shape)
    return np.concatenate([_blocks(each, depth - 1, rank) for each in nested], axis=-depth)


@implements(np.diagflat)
def diagflat(v, k=0):
    return np.diag(np.ravel(operand(v)), k)


@implements(np.dsplit)
def dsplit(ary, indices_or_sections):
    if ary.ndim < 3:
        raise ShapeError(f"np.dsplit takes arrays of three and more axes, got {ary.ndim}")
    return np.split(ary, indices_or_sections, 2)


@implements(np.apply_along_axis)
def apply_along_axis(func1d, axis, arr, *args, **kwargs):
    """`func1d(vector, *args)` of each vector along an axis: one call and one record for each."""
    axis = one_axis(axis, arr.ndim)
    last = np.moveaxis(arr, axis, -1)
    lead = last.shape[:-1]
    if 0 in lead:
        raise ShapeError("np.apply_along_axis takes arrays with one vector or more")
    rows = np.reshape(last, (-1, arr.shape[axis]))
    made = [operand(func1d(row, *args, **kwargs)) for row in rows]
    whole = np.stack(made)
    inner = made[0].ndim
    whole = np.reshape(whole, lead + made[0].shape)
    place = len(lead) + axis + 1
    return np.moveaxis(whole, range(len(lead), len(lead) + inner), range(place, place + inner))


OPERATIONS: list = []
