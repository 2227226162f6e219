"""Convolutions of arrays, and `np.convolve` and `np.correlate` of two vectors."""

import math

import numpy as np

from tracer.arrays import backend
from tracer.arrays.dtypes import in_single
from tracer.errors import ShapeError
from tracer.operations.arguments import operand
from tracer.operations.products import conjugate
from tracer.operations.shapes import slice_of
from tracer.record.axes import POOLED
from tracer.record.dispatch import implements
from tracer.record.operation import Operation, operation
from tracer.sweep.slopes import by_slots


def _samples(node, axes):
    """The axis of one input along which the other has a single element."""
    marked = [(slot, axis) for slot, axis in enumerate(axes) if isinstance(axis, int)]
    if len(marked) != 1:
        return POOLED
    ((slot, axis),) = marked
    return axis if node.input_shape(1 - slot)[axis] == 1 else POOLED


@operation("convolve")
class Convolve(Operation):
    """The full convolution of arrays `[N, ...]` and `[M, ...]`, `[N + M - 1, ...]`, by its sums.

    They have as many axes; one of size 1 is none that is convolved along.
    """

    saves = ("inputs",)
    linear_in = (0, 1)
    takes_complex = True
    jvp = by_slots
    batch_axis = staticmethod(_samples)

    @in_single
    def forward(x, y):
        if x.ndim == 1:
            return np.convolve(x, y)
        dtype = np.result_type(x, y)
        x, y = x.astype(dtype, copy=False), y.astype(dtype, copy=False)
        return backend.of(x).scipy("signal", "convolve")(x, y, method="direct")

    def vjp(node, g):
        """g_x[v,i] = sum_k g[v,k] y[k - i]; g_y[v,j] = sum_k g[v,k] x[k - j]."""
        x, y = node.inputs
        return lambda: _valid(g, y), lambda: _valid(g, x)

    def flops(node):
        return 2 * math.prod(node.input_shape(0)) * math.prod(node.input_shape(1))

    def examples(rng):
        shapes = ((4,), (3,)), ((1,), (3,)), ((3, 2), (2, 4)), ((2, 1, 3), (1, 2, 2))
        return [((rng.random(m), rng.random(n)), {}) for m, n in shapes]


def _valid(g, other):
    """`out[v,i] = sum_k g[v,k] other[k - i]`, for rows of g as large as a convolution."""
    reversed_ = np.flip(other)
    if other.ndim == 1:
        rows = np.stack([convolve(row, reversed_) for row in g])
    else:
        rows = Convolve(g, reversed_[None])
    for axis in range(-other.ndim, 0):
        size = other.shape[axis]
        rows = slice_of(rows, axis, size - 1, g.shape[axis])
    return rows


@implements(np.convolve)
def convolve(a, v, mode="full"):
    a, v = (np.atleast_1d(operand(x)) for x in (a, v))
    if a.ndim > 1 or v.ndim > 1 or not a.shape[0] or not v.shape[0]:
        raise ShapeError(
            f"np.convolve takes two vectors with one element or more, got {list(a.shape)} and "
            f"{list(v.shape)}"
        )
    whole, short = Convolve(a, v), min(a.shape[0], v.shape[0])
    return _part(whole, max(a.shape[0], v.shape[0]), short, mode, (short - 1) // 2)


@implements(np.correlate)
def correlate(a, v, mode="valid"):
    a, v = (np.atleast_1d(operand(x)) for x in (a, v))
    if a.ndim > 1 or v.ndim > 1 or not a.shape[0] or not v.shape[0]:
        raise ShapeError(
            f"np.correlate takes two vectors with one element or more, got {list(a.shape)} and "
            f"{list(v.shape)}"
        )
    whole, short = Convolve(a, np.flip(conjugate(v))), min(a.shape[0], v.shape[0])
    start = short // 2 if v.shape[0] > a.shape[0] else (short - 1) // 2
    return _part(whole, max(a.shape[0], v.shape[0]), short, mode, start)


def _part(whole, long, short, mode, start):
    if mode == "full":
        return whole
    if mode == "same":
        return whole[start : start + long]
    if mode == "valid":
        return whole[short - 1 : long]
    raise ShapeError(f'a mode of np.convolve is "full", "same" or "valid", got {mode!r}')


OPERATIONS = [Convolve]
