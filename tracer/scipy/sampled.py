"""Integrals of samples: `trapezoid`, `simpson`, `cumulative_trapezoid`, by SciPy's formulas."""

import numpy as np

from tracer.operations.arguments import integer, operand, raw
from tracer.record.frames import INTERNAL_FILES

INTERNAL_FILES.add(__file__)


def trapezoid(y, x=None, dx=1.0, axis=-1):
    """The integral of `y` along `axis` by trapezoids, at `x` or `dx` apart."""
    return np.trapezoid(_floats(y), None if x is None else _floats(x), dx, axis)


def cumulative_trapezoid(
    y,
    x=None,
    dx=1.0,
    axis=-1,
    initial=None,
):
    """The same up to each sample but the first, behind `initial=0` where that is given."""
    y, axis = _last(y, axis)
    if not y.shape[-1]:
        raise ValueError("At least one point is required along `axis`.")
    if initial not in (None, 0):
        raise ValueError("`initial` must be `None` or `0`.")
    steps = dx if x is None else _steps(x, y, axis)
    out = np.cumsum(steps * (y[..., 1:] + y[..., :-1]) / 2.0, axis=-1)
    if initial is not None:
        out = np.concatenate([np.zeros_like(raw(out), shape=(*y.shape[:-1], 1)), out], axis=-1)
    return np.moveaxis(out, -1, axis)


def simpson(y, x=None, *, dx=1.0, axis=-1):
    """The integral of `y` along `axis` by parabolas, at `x` or `dx` apart.

    Of an even number of samples, the last interval has the correction of Cartwright (2017).
    """
    y, axis = _last(y, axis)
    n = y.shape[-1]
    h = None if x is None else _steps(x, y, axis)
    if n % 2:
        return _parabolas(y, h, dx)
    if n == 2:
        return (dx if h is None else h[..., 0]) * (y[..., 0] + y[..., 1]) / 2
    h0, h1 = (dx, dx) if h is None else (h[..., -2], h[..., -1])
    alpha = _ratio(2 * h1**2 + 3 * h0 * h1, 6 * (h1 + h0))
    beta = _ratio(h1**2 + 3 * h0 * h1, 6 * h0)
    eta = _ratio(h1**3, 6 * h0 * (h0 + h1))
    whole = _parabolas(y[..., :-1], None if h is None else h[..., :-1], dx)
    return whole + alpha * y[..., -1] + beta * y[..., -2] - eta * y[..., -3]


def _parabolas(y, h, dx):
    """Simpson's rule for an odd number of samples, `h [..., n - 1]` or `dx` apart."""
    left, middle, right = y[..., :-2:2], y[..., 1:-1:2], y[..., 2::2]
    if h is None:
        return np.sum(left + 4 * middle + right, axis=-1) * (dx / 3)
    h0, h1 = h[..., ::2], h[..., 1::2]
    both, ratio = h0 + h1, _ratio(h0, h1)
    parts = left * (2 - _ratio(1.0, ratio)) + right * (2 - ratio)
    return np.sum(both / 6 * (parts + middle * both * _ratio(both, h0 * h1)), axis=-1)


def _ratio(a, b):
    """a / b, and 0 where b is, as where two samples lie at one place."""
    zero = np.asarray(raw(b)) == 0
    if not np.any(zero):
        return a / b
    return np.where(zero, 0.0, a / np.where(zero, 1.0, b))


def _last(y, axis):
    axis = integer(axis, "axis")
    return np.moveaxis(_floats(y), axis, -1), axis


def _steps(x, y, axis):
    """The distances of samples, along the last axis."""
    x = _floats(x)
    if x.ndim > 1:
        x = np.moveaxis(x, axis, -1)
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(f"x has {x.shape[-1]} samples along the axis, where y has {y.shape[-1]}")
    return np.diff(x, axis=-1)


def _floats(value):
    value = operand(value)
    return value if value.dtype.kind == "f" else value.astype(float)
