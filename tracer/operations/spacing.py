"""Points between others, and what is computed from values at such points: NumPy's functions."""

import numpy as np

from tracer.arrays import backend
from tracer.errors import ShapeError
from tracer.operations.arguments import converted, integer, one_axis, operand
from tracer.record.dispatch import implements
from tracer.record.tensor import Tensor


def _like(given, *others):
    """A plain array moved to the library of the first tensor or array among others."""
    held = next((x for x in others if isinstance(x, Tensor) or backend.is_array(x)), None)
    return given if held is None else backend.of(held).from_host(given)


@implements(np.linspace)
def linspace(start, stop, num=50, endpoint=True, retstep=False, dtype=None, axis=0, *, device=None):
    num = integer(num, "`num` of np.linspace")
    if num < 0:
        raise ShapeError(f"np.linspace gives no fewer than 0 points, got num={num}")
    start, stop = operand(start), operand(stop)
    if start.dtype.kind in "iub" and stop.dtype.kind in "iub":
        start = start.astype(float)
    gaps = num - 1 if endpoint else num
    step = (stop - start) / gaps if gaps > 0 else (stop - start) * np.nan
    shape = (-1,) + (1,) * step.ndim
    counts = _like(np.arange(num).reshape(shape), start, stop).astype(step.dtype)
    points = start + counts * step if gaps > 0 else start + counts * (stop - start)
    if endpoint and num > 1:  # exactly, whatever was rounded
        last = np.broadcast_to(stop, step.shape)[None]
        points = np.concatenate([points[:-1], last.astype(points.dtype)])
    points = np.moveaxis(points, 0, one_axis(axis, points.ndim))
    if dtype is not None and np.dtype(dtype).kind in "iu":
        points = np.floor(points)
    points = converted(points, dtype)
    return (points, step) if retstep else points
