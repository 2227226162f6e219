"""Reshaping, permuting and broadcasting, all linear.

Those marked `reindexes` put every element of the input in exactly one place of the output, so that
a structured parameter cotangent passes through them as it is.
"""

import math

import numpy as np

from tracer.errors import ShapeError, TracingError
from tracer.operations.arguments import (
    integer,
    one_axis,
    operand,
    raw,
    several_axes,
)
from tracer.operations.arithmetic import NEAR_NORMS
from tracer.record.axes import POOLED, UNKNOWN, LabelledAxis, MergedAxis, at_position, position_of
from tracer.record.dispatch import implements
from tracer.record.operation import Operation, operation
from tracer.record.tensor import INTEGERS, Tensor
from tracer.sweep.slopes import broadcast_tangent


class Linear(Operation):
    """Moves elements: linear in all its inputs, and no rule reads a value."""

    saves = ()
    linear = True
    takes_complex = True
    plain_options = True

    @staticmethod
    def moves(node):
        return range(len(node.parents))


def _leading(g, shape):
    return g.reshape(len(g), *shape)


@operation("reshape")
class Reshape(Linear):
    """To another shape; `copy` where NumPy gives an array of its own, as `flatten` does."""

    reindexes = True

    def forward(x, *, shape, copy=False):
        out = x.reshape(shape)
        return out.copy() if copy and out.size and np.may_share_memory(out, x) else out

    def views(node):
        return not node.params.get("copy")

    def vjp(node, g):
        """g in the shape [V, *x.shape]."""
        return (_leading(g, node.input_shape(0)),)

    grouped_axes = True

    def jvp(node, tangents):
        """t in the shape [V, *y.shape]."""
        return _leading(tangents[0], node.shape)

    def batch_axis(node, axes):
        """The output axis that has the samples, alone if there is one, else with others merged."""
        old, new, axis = node.input_shape(0), node.shape, axes[0]
        merging, at = isinstance(axis, MergedAxis), position_of(axis)
        outer, inner = (axis.outer, axis.inner) if merging else (1, 1)
        count = old[at] // (outer * inner)
        before, after = math.prod(old[:at]) * outer, math.prod(old[at + 1 :]) * inner
        merged = UNKNOWN
        for i, size in enumerate(new):
            first, last = math.prod(new[:i]), math.prod(new[i + 1 :])
            if size == count and (first, last) == (before, after):
                return i if merging else at_position(axis, i)
            if isinstance(axis, LabelledAxis):
                continue  # whose entries are no samples in their order: their numbers are moved
            whole = first and last and before % first == after % last == 0
            if whole and merged is UNKNOWN and size * first * last == before * count * after:
                merged = MergedAxis(i, before // first, after // last)
        alone = count == 1 and not isinstance(axis, LabelledAxis)
        return POOLED if alone and merged is UNKNOWN else merged

    def examples(rng):
        return [((rng.random((2, 3)),), {"shape": (3, 2)}), ((rng.random(4),), {"shape": (4, 1)})]


@operation("transpose")
class Transpose(Linear):
    """Permutes axes; `axes` are negative."""

    reindexes = True
    views = True

    def forward(x, *, axes):
        return x.transpose(axes)

    def vjp(node, g):
        """g with the axes after that of the stack permuted back."""
        axes = node.params["axes"]
        rank = len(axes)
        back = [0] * rank
        for i, a in enumerate(axes):
            back[a + rank] = i + 1
        return (np.transpose(g, [0, *back]),)

    def jvp(node, tangents):
        """t with the axes after that of the stack permuted alike."""
        axes = node.params["axes"]
        return np.transpose(tangents[0], [0, *(a + len(axes) + 1 for a in axes)])

    def batch_axis(node, axes):
        return node.params["axes"].index(axes[0] - len(node.shape))

    def examples(rng):
        return [((rng.random((2, 3, 4)),), {"axes": (-1, -3, -2)})]


@operation("broadcast_to")
class BroadcastTo(Linear):
    spreads = True
    views = True

    def forward(x, *, shape):
        return np.broadcast_to(x, shape)

    def vjp(node, g):
        """g, which the engine sums over what was broadcast."""
        return (g,)

    def jvp(node, tangents):
        """t, broadcast."""
        return broadcast_tangent(tangents[0], node.shape)

    def batch_axis(node, axes):
        return axes[0] + len(node.shape) - len(node.input_shape(0))

    def examples(rng):
        return [((rng.random((3, 1)),), {"shape": (2, 3, 4)})]


def slice_of(x, axis, start, stop, step=None):
    """`x[..., start:stop:step, ...]` along a negative axis."""
    return x[(..., slice(start, stop, step), *(slice(None),) * (-axis - 1))]


_ZERO = np.zeros(())


def _reshaped(function, x, *args):
    """A reshape under another name, to the shape that the NumPy function gives."""
    try:
        shape = function(np.broadcast_to(_ZERO, x.shape), *args).shape
    except ValueError as error:
        raise ShapeError(
            f"np.{function.__name__} got an array of shape {list(x.shape)}: {error}"
        ) from error
    return Reshape(x, shape=shape)


@implements(np.expand_dims)
def expand_dims(a, axis):
    return _reshaped(np.expand_dims, operand(a), axis)


@implements(np.squeeze)
def squeeze(a, axis=None):
    return _reshaped(np.squeeze, a, axis)


def _at_least(function):
    """One array with more axes, or several in a tuple."""

    @implements(function)
    def handler(*arys):
        made = tuple(_reshaped(function, operand(x)) for x in arys)
        return made[0] if len(made) == 1 else made


for _function in (np.atleast_1d, np.atleast_2d, np.atleast_3d):
    _at_least(_function)


def _row_major(order, name):
    """Whether `order` is "C", and not "F"; others depend on how an array lies in memory."""
    if isinstance(order, str) and order in ("C", "F"):
        return order == "C"
    if isinstance(order, str):
        raise ShapeError(
            f"{name} on tensors takes order='C' or 'F', got {order!r}: how a tensor lies in memory "
            f"is no part of its value"
        )
    raise ShapeError(
        f"{name} takes an order, 'C' or 'F', got {order!r}: to merge some axes alone use "
        f"x.reshape(*x.shape[:k], -1)"
    )


@implements(np.ravel)
def ravel(a, order="C"):
    if order != "C":
        _row_major(order, "ravel (flatten)")
    return np.reshape(a, (-1,), order=order)


@implements(np.reshape)
def reshape(a, /, shape=None, order="C", *, newshape=None, copy=None):
    if newshape is not None:
        if shape is not None:
            raise ShapeError("np.reshape takes `shape` or the older `newshape`, got both")
        shape = newshape
    if copy is False:
        raise TracingError(
            "np.reshape(copy=False) on tensors: whether values are copied is no part of a record, "
            "leave it out"
        )
    shape = (shape,) if isinstance(shape, INTEGERS) else tuple(shape)
    if order != "C" and not _row_major(order, "np.reshape"):
        turned = np.transpose(a)  # of the record's copy of a leaf, as `flipped` is
        flipped = Reshape(turned, shape=_resolve(a, shape[::-1]), **_own(copy))
        if isinstance(a, Tensor) and not np.may_share_memory(raw(flipped), raw(turned)):
            _says_copy(flipped)
        return np.transpose(flipped)
    shape = _resolve(a, shape) if -1 in shape else shape
    return Reshape(a, shape=shape, copy=True) if copy else Reshape(a, shape=shape)


def _own(copy):
    return {"copy": True} if copy else {}


def _says_copy(tensor):
    """Let the record know that a reshape had to copy, as NumPy's did."""
    if tensor.node is not None and tensor.node.op is Reshape:
        tensor.node.params["copy"] = True


def _flatten(self, order="C", *others, **options):
    """`tensor.ravel(order)`, in memory of its own."""
    if others or options or order != "C":
        _row_major((order, *others, *options) if others or options else order, "ravel (flatten)")
    return reshape(self, (-1,), order=order, copy=True)


Tensor.flatten = _flatten


def _resolve(a, shape):
    """`shape` with its -1 replaced."""
    if -1 in shape:
        rest = -math.prod(shape)
        if shape.count(-1) > 1 or rest == 0 or a.size % rest:
            raise ShapeError(f"cannot reshape {list(a.shape)} into {list(shape)}")
        return tuple(a.size // rest if s == -1 else s for s in shape)
    return shape


@implements(np.transpose, np.permute_dims)
def transpose(a, axes=None):
    if axes is None:
        return Transpose(a, axes=tuple(range(-1, -a.ndim - 1, -1)))
    order = tuple(several_axes(tuple(axes), a.ndim))
    if len(order) != a.ndim:
        raise ShapeError(f"axes {tuple(axes)} do not permute the {a.ndim} axes of the array")
    return Transpose(a, axes=order)


@implements(np.swapaxes)
def swapaxes(a, axis1, axis2):
    order = list(range(-a.ndim, 0))
    i, j = one_axis(axis1, a.ndim), one_axis(axis2, a.ndim)
    order[i], order[j] = order[j], order[i]
    return Transpose(a, axes=tuple(order))


@implements(np.matrix_transpose)
def matrix_transpose(x, /):
    return np.swapaxes(x, -1, -2)


@implements(np.moveaxis)
def moveaxis(a, source, destination):
    rank = a.ndim
    source, destination = several_axes(source, rank), several_axes(destination, rank)
    if len(source) != len(destination):
        raise ShapeError(f"np.moveaxis got {len(source)} sources, {len(destination)} destinations")
    order = [n for n in range(-rank, 0) if n not in source]
    for d, s in sorted(zip(destination, source, strict=True)):
        order.insert(d + rank, s)
    return Transpose(a, axes=tuple(order))


@implements(np.rollaxis)
def rollaxis(a, axis, start=0):
    axis, start = one_axis(axis, a.ndim) + a.ndim, integer(start, "`start` of np.rollaxis")
    if not -a.ndim <= start <= a.ndim:
        raise ShapeError(f"start {start} is out of range for an array with {a.ndim} axes")
    start = start + a.ndim if start < 0 else start
    return np.moveaxis(a, axis, start - (axis < start))


@implements(np.broadcast_to)
def broadcast_to(array, shape, subok=False):
    shape = (shape,) if isinstance(shape, INTEGERS) else tuple(shape)
    return array if shape == array.shape else BroadcastTo(array, shape=shape)


@implements(np.full_like)
def full_like(a, fill_value, dtype=None, order="K", subok=True, shape=None, *, device=None):
    shape = raw(a).shape if shape is None else shape
    if not isinstance(fill_value, Tensor):
        return np.full_like(raw(a), fill_value, dtype=dtype, shape=shape)
    return np.broadcast_to(fill_value.astype(a.dtype if dtype is None else dtype), shape)


@implements(np.copyto)
def copyto(dst, src, casting="same_kind", where=True):
    raise TracingError(
        "np.copyto (as in np.full_like(array, tensor)) writes into an array, where a tensor's "
        "history would be lost: use np.broadcast_to(tensor, shape) or np.where"
    )


@implements(np.broadcast_arrays)
def broadcast_arrays(*args, subok=False):
    shape = np.broadcast_shapes(*(np.shape(a) for a in args))
    return tuple(np.broadcast_to(a, shape) for a in args)


NEAR_NORMS.update((Reshape, Transpose, BroadcastTo))


OPERATIONS = [Reshape, Transpose, BroadcastTo]
