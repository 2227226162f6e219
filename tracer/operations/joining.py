"""Joining, splitting and repeating along an axis, all linear."""

import itertools

import numpy as np

from tracer.arrays import backend
from tracer.arrays.sampled import SampledArray
from tracer.errors import ShapeError, TracingError
from tracer.operations.arguments import (
    ABSENT,
    converted,
    integer,
    integers,
    one_axis,
    operand,
    raw,
)
from tracer.operations.shapes import Linear, reshape, slice_of
from tracer.record.axes import UNKNOWN
from tracer.record.dispatch import implements, in_numpy, refuse_out
from tracer.record.operation import operation
from tracer.record.tensor import Tensor
from tracer.sweep.slopes import by_stacks


@operation("concatenate")
class Concatenate(Linear):
    """Joins along `axis`, which is negative."""

    places = True
    jvp = by_stacks

    def forward(*parts, axis):
        return np.concatenate(parts, axis=axis)

    def vjp(node, g):
        """g_part[v] = g[v,...,start:stop,...], the part's slice along the axis."""
        axis, start, out = node.params["axis"], 0, []
        for size in node.params["sizes"] if "sizes" in node.params else _sizes(node):
            out.append(slice_of(g, axis, start, start + size))
            start += size
        return out

    def batch_axis(node, axes):
        known = {a for a in axes if isinstance(a, int)}
        axis = node.params["axis"] + len(node.shape)
        if len(known) > 1 or axis in known:
            return UNKNOWN
        return known.pop()

    def examples(rng):
        return [((rng.random((2, 3)), rng.random((2, 1)), rng.random((2, 2))), {"axis": -1})]


def _sizes(node):
    axis = node.params["axis"]
    return [
        p.shape[axis] if p is not None else node.inputs[i].shape[axis]
        for i, p in enumerate(node.parents)
    ]


@operation("stack")
class Stack(Linear):
    """Joins along a new `axis`, negative in the output."""

    places = True
    jvp = by_stacks

    def forward(*parts, axis):
        return np.stack(parts, axis=axis)

    def vjp(node, g):
        """g_part[v] = g[v,...,i,...] for part i along the new axis."""
        moved = np.moveaxis(g, node.params["axis"], 0)
        return [moved[i] for i in range(len(node.parents))]

    def batch_axis(node, axes):
        known = {a for a in axes if isinstance(a, int)}
        if len(known) > 1:
            return UNKNOWN
        axis, new = known.pop(), node.params["axis"] + len(node.shape)
        return axis + (new <= axis)

    def examples(rng):
        return [((rng.random((2, 3)), rng.random((2, 3))), {"axis": -2})]


def _joined(arrays, dtype, casting):
    parts = [operand(a) for a in arrays]
    return parts if dtype is None else [converted(p, dtype, casting) for p in parts]


@implements(np.concatenate, np.concat)
def concatenate(arrays, /, axis=0, out=None, *, dtype=None, casting="same_kind"):
    refuse_out("concatenate", out)
    parts = _joined(arrays, dtype, casting)
    if axis is None:
        parts, axis = [np.ravel(p) for p in parts], -1
    return Concatenate(*parts, axis=one_axis(axis, parts[0].ndim))


@implements(np.stack)
def stack(arrays, axis=0, out=None, *, dtype=None, casting="same_kind"):
    refuse_out("stack", out)
    parts = _joined(arrays, dtype, casting)
    return Stack(*parts, axis=one_axis(axis, parts[0].ndim + 1))


def array(nested, dtype=None):
    """`np.array` for nested lists and tuples of numbers, arrays and tensors: one new tensor.

    Without tensors, a NumPy array. The dtype is that in which all of them meet, as in NumPy, unless
    it is given. Raises `ShapeError` where entries beside each other differ in shape, and
    `TracingError` for what is no number.
    """
    tensor = _first_tensor(nested)
    if tensor is None:
        return np.array(nested, dtype=dtype)
    made = _nested(nested, backend.of(tensor))
    made = np.copy(made) if made is nested else made
    return made if dtype is None or made.dtype == dtype else made.astype(dtype)


def _first_tensor(nested):
    if isinstance(nested, list | tuple):
        found = (_first_tensor(each) for each in nested)
        return next((tensor for tensor in found if tensor is not None), None)
    return nested if isinstance(nested, Tensor | SampledArray) else None


def _nested(nested, library):
    """A tensor of what holds one, an array of anything else."""
    if _first_tensor(nested) is None:
        made = nested if backend.is_array(nested) else library.from_host(np.array(nested))
        if made.dtype.kind not in "fciub":
            raise TracingError(
                f"tracer.array takes numbers, arrays of them and tensors, got {nested!r:.80}"
            )
        return made
    if not isinstance(nested, list | tuple):
        return operand(nested)
    parts = [_nested(each, library) for each in nested]
    shapes = sorted({part.shape for part in parts})
    if len(shapes) > 1:
        raise ShapeError(
            f"tracer.array takes entries of one shape beside each other, got "
            f"{' and '.join(str(list(shape)) for shape in shapes)}: np.concatenate joins others"
        )
    return np.stack(parts)


@implements(np.vstack)
def vstack(tup, *, dtype=None, casting="same_kind"):
    return concatenate([np.atleast_2d(a) for a in tup], 0, dtype=dtype, casting=casting)


@implements(np.hstack)
def hstack(tup, *, dtype=None, casting="same_kind"):
    parts = [np.atleast_1d(a) for a in tup]
    axis = 0 if parts[0].ndim == 1 else 1
    return concatenate(parts, axis, dtype=dtype, casting=casting)


@implements(np.dstack)
def dstack(tup):
    return np.concatenate([np.atleast_3d(a) for a in tup], 2)


@implements(np.column_stack)
def column_stack(tup):
    return np.concatenate([a if np.ndim(a) > 1 else np.reshape(a, (-1, 1)) for a in tup], 1)


@implements(np.array_split)
def array_split(ary, indices_or_sections, axis=0):
    axis = one_axis(axis, ary.ndim)
    size = ary.shape[axis]
    if np.ndim(indices_or_sections) == 0:
        count = integer(indices_or_sections, "the number of sections of np.split")
        if count < 1:
            raise ShapeError(f"np.split makes one section or more, got {count}")
        cuts = [i * (size // count) + min(i, size % count) for i in range(1, count)]
    else:
        cuts = list(integers(raw(indices_or_sections), "an index of np.split"))
    return [slice_of(ary, axis, i, j) for i, j in itertools.pairwise([0, *cuts, size])]


@implements(np.split)
def split(ary, indices_or_sections, axis=0):
    if np.ndim(indices_or_sections) == 0:
        size = ary.shape[one_axis(axis, ary.ndim)]
        count = integer(indices_or_sections, "the number of sections of np.split")
        if count > 0 and size % count:
            raise ShapeError(
                f"np.split makes equal sections, got {size} elements for {count} of them: "
                f"np.array_split makes unequal ones"
            )
    return array_split(ary, indices_or_sections, axis)


@implements(np.hsplit)
def hsplit(ary, indices_or_sections):
    return np.split(ary, indices_or_sections, 0 if ary.ndim == 1 else 1)


@implements(np.vsplit)
def vsplit(ary, indices_or_sections):
    if ary.ndim < 2:
        raise ShapeError(f"np.vsplit takes arrays of two and more axes, got {ary.ndim}")
    return np.split(ary, indices_or_sections, 0)


@implements(in_numpy("unstack"))
def unstack(x, /, *, axis=0):
    moved = np.moveaxis(x, one_axis(axis, x.ndim), 0)
    return tuple(moved[i] for i in range(len(moved)))


@implements(np.tile)
def tile(A, reps):
    reps = integers(raw(reps), "`reps` of np.tile")
    if any(r < 0 for r in reps):
        raise ShapeError(f"np.tile repeats a positive number of times, got {reps}")
    rank = max(A.ndim, len(reps))
    shape, reps = (1,) * (rank - A.ndim) + A.shape, (1,) * (rank - len(reps)) + reps
    wide = np.broadcast_to(
        np.reshape(A, [s for n in shape for s in (1, n)]),
        tuple(s for r, n in zip(reps, shape, strict=True) for s in (r, n)),
    )
    return reshape(wide, tuple(r * n for r, n in zip(reps, shape, strict=True)), copy=True)


@implements(np.repeat)
def repeat(a, repeats, axis=None):
    if axis is None:
        a, axis = np.ravel(a), 0
    axis = one_axis(axis, a.ndim) + a.ndim
    if np.ndim(repeats) == 0:
        repeats = integer(repeats, "`repeats` of np.repeat")
        if repeats < 0:
            raise ShapeError(f"np.repeat repeats a positive number of times, got {repeats}")
        shape = a.shape
        wide = np.broadcast_to(
            np.expand_dims(a, axis + 1), (*shape[: axis + 1], repeats, *shape[axis + 1 :])
        )
        shape = (*shape[:axis], shape[axis] * repeats, *shape[axis + 1 :])
        return reshape(wide, shape, copy=True)
    positions = np.repeat(np.arange(a.shape[axis]), backend.to_host(raw(repeats)))
    return np.take(a, backend.of(a).from_host(positions), axis)


def _end(value, a, axis):
    """What is put at an end of `a` along `axis`: an array, or a number for a single slice."""
    if value.ndim:
        return value
    value = value if isinstance(value, Tensor) else backend.of(a).from_host(value)
    return np.broadcast_to(value, slice_of(raw(a), axis, 0, 1).shape)


@implements(np.diff)
def diff(a, n=1, axis=-1, prepend=ABSENT, append=ABSENT):
    n, a = integer(n, "`n` of np.diff"), operand(a)
    if n < 0:
        raise ShapeError(f"np.diff takes differences n times, got n={n}")
    if n == 0:
        return a
    axis = one_axis(axis, a.ndim)
    ends = [None if e is ABSENT else _end(operand(e), a, axis) for e in (prepend, append)]
    parts = [e for e in (ends[0], a, ends[1]) if e is not None]
    a = np.concatenate(parts, axis) if len(parts) > 1 else a
    for _ in range(n):
        a = slice_of(a, axis, 1, None) - slice_of(a, axis, 0, -1)
    return a


OPERATIONS = [Concatenate, Stack]
