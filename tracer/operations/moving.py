"""Flipping, rolling and padding, all linear."""

import numpy as np

from tracer.arrays.parallel import SMALL, blocks, in_parallel
from tracer.errors import ShapeError
from tracer.operations.arguments import (
    constant,
    integer,
    integers,
    negative_axes,
    one_axis,
    raw,
    several_axes,
)
from tracer.operations.shapes import Linear, slice_of
from tracer.record.axes import UNKNOWN
from tracer.record.dispatch import implements
from tracer.record.operation import operation
from tracer.sweep.slopes import by_stacks

#: bytes of a block of what is copied
BLOCK_BYTES = 4 << 20


@operation("flip")
class Flip(Linear):
    reindexes = True
    views = True
    jvp = by_stacks

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
    jvp = by_stacks

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
        if mode == "constant" and type(x) is np.ndarray and x.ndim and min(map(min, width)) >= 0:
            return _in_zeros(x, width)
        return np.pad(x, width, mode=mode)

    def vjp(node, g):
        """g_x[v,j] = sum_i g[v,i] over the places i that hold x[j]: its own, and padding."""
        width, mode = node.params["width"], node.params["mode"]
        rank = len(width)
        for i, ((low, high), size) in enumerate(zip(width, node.input_shape(0), strict=True)):
            if low or high:
                g = _unpad(g, i - rank, low, high, size, mode)
        return (g,)

    def jvp(node, tangents):
        """t, padded alike."""
        return Pad(tangents[0], width=((0, 0), *node.params["width"]), mode=node.params["mode"])

    def through(node, entry):
        """What is to be put into the padding is left out."""
        return entry.within(node.params["width"]) if node.params["mode"] == "constant" else None

    def batch_axis(node, axes):
        return axes[0] if node.params["width"][axes[0]] == (0, 0) else UNKNOWN

    def moves(node):
        return None if node.params["mode"] == "constant" else (0,)

    def examples(rng):
        x = rng.random((3, 4))
        modes = ("constant", "edge", "reflect", "symmetric", "wrap")
        return [((x,), {"width": ((1, 2), (0, 1)), "mode": mode}) for mode in modes]


def _in_zeros(x, width):
    """`np.pad(x, width)` that lies in memory as `x` does, where `np.pad` has rows last.

    Channels of convolutions lie beside each other. With the pooling that follows on what has them
    apart, `grad` of 3c3d took 88 ms of the processor's time, and takes 64.
    """
    size = tuple(low + n + high for n, (low, high) in zip(x.shape, width, strict=True))
    out = np.empty_like(x, shape=size, subok=False)
    inside = tuple(slice(low, low + n) for n, (low, _) in zip(x.shape, width, strict=True))
    for i, (axis, (low, _)) in enumerate(zip(inside, width, strict=True)):
        out[(*inside[:i], slice(0, low))] = 0
        out[(*inside[:i], slice(axis.stop, None))] = 0
    held = out[inside]
    if x.nbytes <= SMALL:
        held[...] = x
        return out

    def copy(block):
        held[block] = x[block]

    in_parallel(copy, blocks(len(x), x.nbytes, BLOCK_BYTES, like=x), like=x)
    return out


#: modes of `np.pad` in which each padded element copies one element of the array
COPYING_MODES = ("edge", "reflect", "symmetric", "wrap")


def _unpad(g, axis, low, high, size, mode):
    """The transpose of padding one axis: what was copied is added to where it came from."""
    if mode == "constant":
        return slice_of(g, axis, low, low + size)
    source = np.pad(np.arange(size), (low, high), mode=mode)
    moved = np.moveaxis(g, axis, 0)
    total = moved[low : low + size]
    for i in [*range(low), *range(low + size, low + size + high)]:
        j = int(source[i])
        rows = [(j, size - 1 - j), *[(0, 0)] * (total.ndim - 1)]
        total = total + np.pad(moved[i : i + 1], rows)
    return np.moveaxis(total, 0, axis)


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


OPERATIONS = [Flip, Roll, Pad]
