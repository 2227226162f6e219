"""`np.convolve` and `np.correlate` of two vectors."""

import numpy as np

from tracer.errors import ShapeError
from tracer.operations.arguments import operand
from tracer.operations.products import conjugate
from tracer.operations.shapes import slice_of
from tracer.record.dispatch import implements
from tracer.record.operation import Operation, operation
from tracer.sweep.slopes import by_slots


@operation("convolve")
class Convolve(Operation):
    """The full convolution of vectors `[N]` and `[M]`, `[N + M - 1]`."""

    saves = ("inputs",)
    linear_in = (0, 1)
    takes_complex = True
    jvp = by_slots

    def forward(x, y):
        return np.convolve(x, y)

    def vjp(node, g):
        """g_x[v,i] = sum_k g[v,k] y[k - i]; g_y[v,j] = sum_k g[v,k] x[k - j]."""
        x, y = node.inputs
        return lambda: _valid(g, y), lambda: _valid(g, x)

    def examples(rng):
        return [((rng.random(4), rng.random(3)), {}), ((rng.random(1), rng.random(3)), {})]


def _valid(g, other):
    """`out[v,i] = sum_k g[v,k] other[k - i]`, for rows of g as long as a convolution."""
    count, reversed_ = g.shape[1] - other.shape[0] + 1, np.flip(other)
    rows = [convolve(row, reversed_) for row in g]
    return slice_of(np.stack(rows), -1, other.shape[0] - 1, other.shape[0] - 1 + count)


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
