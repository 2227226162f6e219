"""Operations that move elements: reshaping, permuting, broadcasting, joining, repeating, padding.

All are linear. Those marked `reindexes` put every element of the input in exactly one place of the
output, so that a structured parameter cotangent passes through them as it is.
"""

import itertools
import math

import numpy as np

from tracer import backend
from tracer.dispatch import implements, in_numpy, refuse_out
from tracer.errors import ShapeError
from tracer.operation import POOLED, UNKNOWN, MergedAxis, Operation, operation
from tracer.operations.arithmetic import operand, raw
from tracer.operations.reductions import negative_axes
from tracer.tensor import INTEGERS, Tensor


class Linear(Operation):
    """Moves elements: linear in all its inputs, and no rule reads a value."""

    saves = ()
    linear = True


def _leading(g, shape):
    return g.reshape(len(g), *shape)


@operation("reshape")
class Reshape(Linear):
    reindexes = True

    def forward(x, *, shape):
        return x.reshape(shape)

    def vjp(node, g):
        return (_leading(g, node.input_shape(0)),)

    def batch_axis(node, axes):
        """The output axis that has the samples, alone if there is one, else with others merged."""
        old, new, axis = node.input_shape(0), node.shape, axes[0]
        outer, inner = getattr(axis, "outer", 1), getattr(axis, "inner", 1)
        count = old[axis] // (outer * inner)
        before, after = math.prod(old[:axis]) * outer, math.prod(old[axis + 1 :]) * inner
        merged = UNKNOWN
        for i, size in enumerate(new):
            first, last = math.prod(new[:i]), math.prod(new[i + 1 :])
            if size == count and (first, last) == (before, after):
                return i
            whole = first and last and before % first == after % last == 0
            if whole and merged is UNKNOWN and size * first * last == before * count * after:
                merged = MergedAxis(i, before // first, after // last)
        return POOLED if count == 1 and merged is UNKNOWN else merged

    def examples(rng):
        return [((rng.random((2, 3)),), {"shape": (3, 2)}), ((rng.random(4),), {"shape": (4, 1)})]


@operation("transpose")
class Transpose(Linear):
    """Permutes axes; `axes` are negative."""

    reindexes = True

    def forward(x, *, axes):
        return x.transpose(axes)

    def vjp(node, g):
        axes = node.params["axes"]
        rank = len(axes)
        back = [0] * rank
        for i, a in enumerate(axes):
            back[a + rank] = i + 1
        return (np.transpose(g, [0, *back]),)

    def batch_axis(node, axes):
        return node.params["axes"].index(axes[0] - len(node.shape))

    def examples(rng):
        return [((rng.random((2, 3, 4)),), {"axes": (-1, -3, -2)})]


@operation("broadcast_to")
class BroadcastTo(Linear):
    def forward(x, *, shape):
        return np.broadcast_to(x, shape)

    def vjp(node, g):
        return (g,)

    def batch_axis(node, axes):
        return axes[0] + len(node.shape) - len(node.input_shape(0))

    def examples(rng):
        return [((rng.random((3, 1)),), {"shape": (2, 3, 4)})]


@operation("concatenate")
class Concatenate(Linear):
    """Joins along `axis`, which is negative."""

    def forward(*parts, axis):
        return np.concatenate(parts, axis=axis)

    def vjp(node, g):
        axis, start, out = node.params["axis"], 0, []
        for size in node.params["sizes"] if "sizes" in node.params else _sizes(node):
            out.append(_slice(g, axis, start, start + size))
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


def _slice(x, axis, start, stop, step=None):
    """`x[..., start:stop:step, ...]` along a negative axis."""
    return x[(..., slice(start, stop, step), *(slice(None),) * (-axis - 1))]


@operation("stack")
class Stack(Linear):
    """Joins along a new `axis`, negative in the output."""

    def forward(*parts, axis):
        return np.stack(parts, axis=axis)

    def vjp(node, g):
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


@operation("flip")
class Flip(Linear):
    reindexes = True

    def forward(x, *, axis):
        return np.flip(x, axis)

    def vjp(node, g):
        return (np.flip(g, node.params["axis"]),)

    def batch_axis(node, axes):
        return UNKNOWN if axes[0] - len(node.shape) in node.params["axis"] else axes[0]

    def examples(rng):
        return [((rng.random((2, 3)),), {"axis": (-1,)})]


@operation("roll")
class Roll(Linear):
    reindexes = True

    def forward(x, *, shift, axis):
        return np.roll(x, shift, axis)

    def vjp(node, g):
        return (np.roll(g, tuple(-s for s in node.params["shift"]), node.params["axis"]),)

    def batch_axis(node, axes):
        return UNKNOWN if axes[0] - len(node.shape) in node.params["axis"] else axes[0]

    def examples(rng):
        return [((rng.random((2, 3)),), {"shift": (1,), "axis": (-1,)})]


@operation("pad")
class Pad(Linear):
    """`np.pad` with a mode that is linear in the array: constant zero, edge, reflect, wrap, ..."""

    def forward(x, *, width, mode):
        return np.pad(x, width, mode=mode)

    def vjp(node, g):
        width, mode = node.params["width"], node.params["mode"]
        rank = len(width)
        for i, ((low, high), size) in enumerate(zip(width, node.input_shape(0), strict=True)):
            if low or high:
                g = _unpad(g, i - rank, low, high, size, mode)
        return (g,)

    def batch_axis(node, axes):
        return axes[0] if node.params["width"][axes[0]] == (0, 0) else UNKNOWN

    def examples(rng):
        x = rng.random((3, 4))
        modes = ("constant", "edge", "reflect", "symmetric", "wrap")
        return [((x,), {"width": ((1, 2), (0, 1)), "mode": mode}) for mode in modes]


#: modes of `np.pad` in which each padded element copies one element of the array
COPYING_MODES = ("edge", "reflect", "symmetric", "wrap")


def _unpad(g, axis, low, high, size, mode):
    """The transpose of padding one axis: what was copied is added to where it came from."""
    if mode == "constant":
        return _slice(g, axis, low, low + size)
    source = np.pad(np.arange(size), (low, high), mode=mode)
    moved = np.moveaxis(g, axis, 0)
    total = moved[low : low + size]
    for i in [*range(low), *range(low + size, low + size + high)]:
        j = int(source[i])
        rows = [(j, size - 1 - j), *[(0, 0)] * (total.ndim - 1)]
        total = total + np.pad(moved[i : i + 1], rows)
    return np.moveaxis(total, 0, axis)


def _simple(name, function):
    """A reshape under another name: `expand_dims`, `squeeze`, `ravel`."""

    @implements(function)
    def handler(x, *args, **kwargs):
        shape = function(np.broadcast_to(_ZERO, x.shape), *args, **kwargs).shape
        return Reshape(x, shape=shape)

    return handler


_ZERO = np.zeros(())
for _function in (np.expand_dims, np.squeeze, np.atleast_1d, np.atleast_2d, np.atleast_3d):
    _simple(_function.__name__, _function)


@implements(np.ravel)
def ravel(a, order="C"):
    return np.reshape(a, (-1,), order=order)


@implements(np.reshape)
def reshape(a, /, shape=None, order="C", *, newshape=None, copy=None):
    shape = newshape if shape is None else shape
    shape = (shape,) if isinstance(shape, INTEGERS) else tuple(shape)
    if order == "F":
        flipped = Reshape(np.transpose(a), shape=_resolve(a, shape[::-1]))
        return np.transpose(flipped)
    return Reshape(a, shape=_resolve(a, shape))


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
    order = tuple(int(i) - a.ndim if i >= 0 else int(i) for i in axes)
    if sorted(order) != list(range(-a.ndim, 0)):
        raise ShapeError(f"axes {tuple(axes)} do not permute the {a.ndim} axes of the array")
    return Transpose(a, axes=order)


@implements(np.swapaxes)
def swapaxes(a, axis1, axis2):
    order = list(range(a.ndim))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return np.transpose(a, order)


@implements(np.matrix_transpose)
def matrix_transpose(x):
    return np.swapaxes(x, -1, -2)


@implements(np.moveaxis)
def moveaxis(a, source, destination):
    source = [s % a.ndim for s in np.atleast_1d(source)]
    destination = [d % a.ndim for d in np.atleast_1d(destination)]
    order = [n for n in range(a.ndim) if n not in source]
    for d, s in sorted(zip(destination, source, strict=True)):
        order.insert(d, s)
    return np.transpose(a, order)


@implements(np.rollaxis)
def rollaxis(a, axis, start=0):
    axis, start = axis % a.ndim, start + a.ndim if start < 0 else start
    return np.moveaxis(a, axis, start - (axis < start))


@implements(np.broadcast_to)
def broadcast_to(array, shape, subok=False):
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    return array if shape == array.shape else BroadcastTo(array, shape=shape)


@implements(np.broadcast_arrays)
def broadcast_arrays(*arrays, subok=False):
    shape = np.broadcast_shapes(*(np.shape(a) for a in arrays))
    return tuple(np.broadcast_to(a, shape) for a in arrays)


@implements(np.concatenate, np.concat)
def concatenate(arrays, /, axis=0, out=None, *, dtype=None, casting="same_kind"):
    refuse_out("concatenate", out)
    parts = [operand(a) for a in arrays]
    if axis is None:
        parts, axis = [np.ravel(p) for p in parts], -1
    (axis,) = negative_axes(axis, parts[0].ndim)
    out = Concatenate(*parts, axis=axis)
    return out if dtype is None else out.astype(dtype)


@implements(np.stack)
def stack(arrays, axis=0, out=None, *, dtype=None, casting="same_kind"):
    refuse_out("stack", out)
    parts = [operand(a) for a in arrays]
    (axis,) = negative_axes(axis, parts[0].ndim + 1)
    out = Stack(*parts, axis=axis)
    return out if dtype is None else out.astype(dtype)


@implements(np.vstack)
def vstack(tup, **kwargs):
    return np.concatenate([np.atleast_2d(a) for a in tup], 0)


@implements(np.hstack)
def hstack(tup, **kwargs):
    parts = [np.atleast_1d(a) for a in tup]
    return np.concatenate(parts, 0 if parts[0].ndim == 1 else 1)


@implements(np.dstack)
def dstack(tup):
    return np.concatenate([np.atleast_3d(a) for a in tup], 2)


@implements(np.column_stack)
def column_stack(tup):
    return np.concatenate([a if np.ndim(a) > 1 else np.reshape(a, (-1, 1)) for a in tup], 1)


@implements(np.split, np.array_split)
def split(ary, indices_or_sections, axis=0):
    size = ary.shape[axis]
    if isinstance(indices_or_sections, int | np.integer):
        edges = [len(p) for p in np.array_split(np.empty(size), indices_or_sections)]
        cuts = np.cumsum(edges)[:-1].tolist()
    else:
        cuts = list(indices_or_sections)
    (axis,) = negative_axes(axis, ary.ndim)
    bounds = [0, *cuts, size]
    return [_slice(ary, axis, i, j) for i, j in itertools.pairwise(bounds)]


@implements(np.hsplit)
def hsplit(ary, indices_or_sections):
    return np.split(ary, indices_or_sections, 0 if ary.ndim == 1 else 1)


@implements(np.vsplit)
def vsplit(ary, indices_or_sections):
    return np.split(ary, indices_or_sections, 0)


@implements(in_numpy("unstack"))
def unstack(x, /, *, axis=0):
    moved = np.moveaxis(x, axis, 0)
    return tuple(moved[i] for i in range(len(moved)))


@implements(np.flip)
def flip(m, axis=None):
    return Flip(m, axis=negative_axes(axis, m.ndim))


@implements(np.flipud)
def flipud(m):
    return np.flip(m, 0)


@implements(np.fliplr)
def fliplr(m):
    return np.flip(m, 1)


@implements(np.roll)
def roll(a, shift, axis=None):
    if axis is None:
        return np.reshape(np.roll(np.ravel(a), shift, 0), a.shape)
    axes = [int(i) % a.ndim - a.ndim for i in np.atleast_1d(axis)]
    shifts = np.broadcast_to(np.atleast_1d(shift), len(axes)).tolist()
    return Roll(a, shift=tuple(shifts), axis=tuple(axes))


@implements(np.rot90)
def rot90(m, k=1, axes=(0, 1)):
    for _ in range(k % 4):
        m = np.flip(np.swapaxes(m, *axes), axes[0])
    return m


@implements(np.pad)
def pad(array, pad_width, mode="constant", *, constant_values=0, **kwargs):
    width = np.broadcast_to(np.asarray(pad_width), (array.ndim, 2)).tolist()
    width = tuple((low, high) for low, high in width)
    if kwargs or mode not in ("constant", *COPYING_MODES):
        raise ShapeError(
            f"np.pad on tensors takes the modes constant, {', '.join(COPYING_MODES)}, without "
            f"further options; got {mode!r} {kwargs or ''}"
        )
    padded = Pad(array, width=width, mode=mode)
    if mode == "constant" and np.any(np.asarray(constant_values)):
        frame = np.pad(np.zeros_like(raw(array)), width, constant_values=constant_values)
        return padded + frame
    return padded


@implements(np.tile)
def tile(A, reps):
    reps = (reps,) if isinstance(reps, int | np.integer) else tuple(reps)
    rank = max(A.ndim, len(reps))
    shape, reps = (1,) * (rank - A.ndim) + A.shape, (1,) * (rank - len(reps)) + reps
    wide = np.broadcast_to(
        np.reshape(A, [s for n in shape for s in (1, n)]),
        tuple(s for r, n in zip(reps, shape, strict=True) for s in (r, n)),
    )
    return np.reshape(wide, tuple(r * n for r, n in zip(reps, shape, strict=True)))


@implements(np.repeat)
def repeat(a, repeats, axis=None):
    if axis is None:
        a, axis = np.ravel(a), 0
    axis %= a.ndim
    if isinstance(repeats, int | np.integer):
        shape = a.shape
        wide = np.broadcast_to(
            np.expand_dims(a, axis + 1), (*shape[: axis + 1], repeats, *shape[axis + 1 :])
        )
        return np.reshape(wide, (*shape[:axis], shape[axis] * repeats, *shape[axis + 1 :]))
    positions = np.repeat(np.arange(a.shape[axis]), backend.to_host(raw(repeats)))
    return np.take(a, backend.of(a).from_host(positions), axis)


def _end(value, a, axis):
    """What is put at an end of `a` along `axis`: an array, or a number for a single slice."""
    if value.ndim:
        return value
    value = value if isinstance(value, Tensor) else backend.of(a).from_host(value)
    return np.broadcast_to(value, _slice(raw(a), axis, 0, 1).shape)


@implements(np.diff)
def diff(a, n=1, axis=-1, prepend=None, append=None):
    (axis,) = negative_axes(axis, a.ndim)
    ends = [None if e is None else _end(operand(e), a, axis) for e in (prepend, append)]
    if prepend is not None or append is not None:
        a = np.concatenate([e for e in (ends[0], a, ends[1]) if e is not None], axis)
    for _ in range(n):
        a = _slice(a, axis, 1, None) - _slice(a, axis, 0, -1)
    return a


Tensor.squeeze = lambda self, axis=None: np.squeeze(self, axis=axis)

OPERATIONS = [Reshape, Transpose, BroadcastTo, Concatenate, Stack, Flip, Roll, Pad]
