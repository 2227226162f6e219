"""Filters that feed back: the recursion that `scipy.signal.lfilter` is made of."""

import numpy as np

from tracer.arrays import backend
from tracer.arrays.dtypes import in_single
from tracer.operations.convolving import Convolve
from tracer.record.axes import POOLED
from tracer.record.operation import Operation, operation


def along_last(x, taps):
    """`out[..., n] = sum_j taps[..., j] x[..., n - j]`, of which either may have more axes."""
    rank = max(x.ndim, taps.ndim)
    x, taps = (a.reshape((1,) * (rank - a.ndim) + a.shape) for a in (x, taps))
    return Convolve(x, taps)


def _samples(node, axes):
    last = axes[0] is None or axes[0] == len(node.shape) - 1
    return POOLED if last or axes[1] is not None else axes[0]


@operation("feedback")
class Feedback(Operation):
    """The y with `sum_j a[j] y[..., n - j] = x[..., n]` along the last axis, for taps `a [K]`."""

    saves = ("inputs", "output")
    linear_in = (0,)
    takes_complex = True
    batch_axis = staticmethod(_samples)

    @in_single
    def forward(x, a):
        one = np.ones_like(a[:1])
        return backend.of(x).scipy("signal", "lfilter")(one, a, x)

    def vjp(node, g):
        """g_x[v] = u[v], which is g[v] filtered backward; g_a[v,j] = - sum_n u[v,n] y[n - j]."""
        a, y = node.inputs[1], node.output
        u = np.flip(Feedback(np.flip(g, -1), a), -1)
        return u, lambda: -_lagged(u, y, len(a))

    def jvp(node, tangents):
        """t_x - t_a * y, with * along the last axis, filtered."""
        t_x, t_a = tangents
        a, y = node.inputs[1], node.output
        into = 0 if t_x is None else t_x
        if t_a is not None:
            wide = t_a.reshape(len(t_a), *(1,) * (y.ndim - 1), t_a.shape[-1])
            into = into - along_last(y, wide)[..., : y.shape[-1]]
        return Feedback(into, a)

    def flops(node):
        return 2 * node.input_shape(1)[0] * node.size

    def examples(rng):
        a = np.array([1.5, -0.4, 0.3])
        return [
            ((rng.random((2, 4)), a), {}),
            ((rng.random(2), a), {}),
            ((rng.random(3), a[:1]), {}),
        ]


def _lagged(u, y, count):
    """`out[v,j] = sum u[v,...,n] y[...,n - j]` for `count` lags j."""
    size = y.shape[-1]
    axes = tuple(range(1, u.ndim))
    lags = [
        np.sum(u[..., j:] * y[..., : size - j], axis=axes) if j < size else 0 * u.sum(axis=axes)
        for j in range(count)
    ]
    return np.stack(lags, axis=-1)


OPERATIONS = [Feedback]
