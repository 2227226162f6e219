"""Operations that move elements: reshaping, permuting, broadcasting, joining, repeating, padding.

All are linear. Those marked `reindexes` put every element of the input in exactly one place of the
output, so that a structured parameter cotangent passes through them as it is.
"""

import itertools
import math

import numpy as np

from tracer.arrays import backend
from tracer.arrays.sampled import SampledArray
from tracer.errors import ShapeError, TracingError
from tracer.operations.arguments import (
    ABSENT,
    constant,
    converted,
    integer,
    integers,
    negative_axes,
    one_axis,
    operand,
    raw,
    several_axes,
)
from tracer.operations.arithmetic import NEAR_NORMS
from tracer.record.axes import POOLED, UNKNOWN, LabelledAxis, MergedAxis
from tracer.record.dispatch import implements, in_numpy, refuse_out
from tracer.record.operation import Operation, operation
from tracer.record.tensor import INTEGERS, Tensor


class Linear(Operation):
    """Moves elements: linear in all its inputs, and no rule reads a value."""

    saves = ()
    linear = True
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

    def batch_axis(node, axes):
        return axes[0] + len(node.shape) - len(node.input_shape(0))

    def examples(rng):
        return [((rng.random((3, 1)),), {"shape": (2, 3, 4)})]


@operation("concatenate")
class Concatenate(Linear):
    """Joins along `axis`, which is negative."""

    places = True

    def forward(*parts, axis):
        return np.concatenate(parts, axis=axis)

    def vjp(node, g):
        """g_part[v] = g[v,...,start:stop,...], the part's slice along the axis."""
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

    places = True

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


@operation("flip")
class Flip(Linear):
    reindexes = True
    views = True

    def forward(x, *, axis):
        return np.flip(x, axis)

    def vjp(node, g):
        """g, flipped along the same axes."""
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
        """g, rolled by -shift."""
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
        """g_x[v,j] = sum_i g[v,i] over the places i that hold x[j]: its own, and padding."""
        width, mode = node.params["width"], node.params["mode"]
        rank = len(width)
        for i, ((low, high), size) in enumerate(zip(width, node.input_shape(0), strict=True)):
            if low or high:
                g = _unpad(g, i - rank, low, high, size, mode)
        return (g,)

    def batch_axis(node, axes):
        return axes[0] if node.params["width"][axes[0]] == (0, 0) else UNKNOWN

    def moves(node):
        return None if node.params["mode"] == "constant" else (0,)

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
    return Reshape(a, shape=_resolve(a, shape), **_own(copy))


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
        if made.dtype.kind not in "fiub":
            raise TracingError(
                f"tracer.array takes real numbers, arrays of them and tensors, got {nested!r:.80}"
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
    return [_slice(ary, axis, i, j) for i, j in itertools.pairwise([0, *cuts, size])]


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
    shifts = integers(raw(shift), "`shift` of np.roll")
    pairs = np.broadcast(shifts, [one_axis(i, a.ndim) for i in integers(axis, "an axis")])
    shifts, axes = zip(*((int(s), int(i)) for s, i in pairs), strict=True)
    return Roll(a, shift=shifts, axis=axes)


@implements(np.rot90)
def rot90(m, k=1, axes=(0, 1)):
    first, second = several_axes(tuple(axes), m.ndim)
    for _ in range(integer(k, "`k` of np.rot90") % 4):
        m = np.flip(np.swapaxes(m, first, second), first)
    return m


@implements(np.pad)
def pad(array, pad_width, mode="constant", **kwargs):
    if isinstance(pad_width, dict):
        widths = {one_axis(i, array.ndim): w for i, w in pad_width.items()}
        pad_width = [np.broadcast_to(widths.get(i, 0), 2) for i in range(-array.ndim, 0)]
    width = np.broadcast_to(np.asarray(pad_width), (array.ndim, 2)).tolist()
    width = tuple((low, high) for low, high in width)
    constants = kwargs.pop("constant_values", 0) if mode == "constant" else 0
    if kwargs or not isinstance(mode, str) or mode not in ("constant", *COPYING_MODES):
        raise ShapeError(
            f"np.pad on tensors takes the modes constant, {', '.join(COPYING_MODES)}, without "
            f"further options; got {mode!r} {kwargs or ''}"
        )
    padded = Pad(array, width=width, mode=mode)
    constants = constant(constants, "pad", "constant_values", "use np.concatenate")
    if mode == "constant" and np.any(np.asarray(constants)):
        frame = np.pad(np.zeros_like(raw(array)), width, constant_values=constants)
        return padded + frame
    return padded


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
    return np.broadcast_to(value, _slice(raw(a), axis, 0, 1).shape)


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
        a = _slice(a, axis, 1, None) - _slice(a, axis, 0, -1)
    return a


NEAR_NORMS.update((Reshape, Transpose, BroadcastTo))

OPERATIONS = [Reshape, Transpose, BroadcastTo, Concatenate, Stack, Flip, Roll, Pad]
