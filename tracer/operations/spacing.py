"""Points between others, and what is computed from values at such points: NumPy's functions."""

import numpy as np

from tracer.arrays import backend
from tracer.errors import ShapeError
from tracer.operations.arguments import (
    cast,
    converted,
    integer,
    one_axis,
    operand,
    raw,
    refuse,
    several_axes,
)
from tracer.operations.products import conjugate
from tracer.operations.shapes import slice_of
from tracer.record.dispatch import implements, in_numpy
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


@implements(np.meshgrid)
def meshgrid(*xi, copy=True, sparse=False, indexing="xy"):
    if indexing not in ("xy", "ij"):
        raise ShapeError(f'np.meshgrid takes indexing="xy" or "ij", got {indexing!r}')
    rank = len(xi)
    shapes = [tuple(-1 if i == j else 1 for j in range(rank)) for i in range(rank)]
    if indexing == "xy" and rank > 1:
        shapes[0], shapes[1] = (1, -1, *shapes[0][2:]), (-1, 1, *shapes[1][2:])
    grids = [np.reshape(operand(x), shape) for x, shape in zip(xi, shapes, strict=True)]
    if not sparse:
        whole = np.broadcast_shapes(*(grid.shape for grid in grids))
        grids = [np.copy(np.broadcast_to(grid, whole)) for grid in grids]
    return tuple(grids)


@implements(np.interp)
def interp(x, xp, fp, left=None, right=None, period=None):
    """Values between points, linear in each piece: by `x`, by the points and by their values."""
    x, xp, fp = map(operand, (x, xp, fp))
    x, xp = (cast(v, np.float64) for v in (x, xp))
    fp = cast(fp, np.result_type(fp.dtype, np.float64))
    if xp.ndim != 1 or xp.shape != fp.shape or not len(xp):
        raise ShapeError(
            f"np.interp takes points and values as vectors of one length, of one or more, got "
            f"{list(xp.shape)} and {list(fp.shape)}"
        )
    if period is not None:
        if period == 0:
            raise ShapeError("np.interp takes a period that is not 0")
        period, left, right = abs(period), None, None
        x, xp = np.remainder(x, period), np.remainder(xp, period)
        order = np.argsort(raw(xp), stable=True)
        xp, fp = xp[order], fp[order]
        xp = np.concatenate([xp[-1:] - period, xp, xp[:1] + period])
        fp = np.concatenate([fp[-1:], fp, fp[:1]])
    below, above = x < xp[0], x > xp[-1]
    if len(xp) == 1:
        inner = np.broadcast_to(fp[0], x.shape)
    else:
        piece = np.clip(np.searchsorted(raw(xp), raw(x), side="right") - 1, 0, len(xp) - 2)
        start, away = fp[piece], np.where(below | above, 0, x - xp[piece])
        inner = start + away * ((fp[piece + 1] - start) / (xp[piece + 1] - xp[piece]))
        inner = np.where(x == xp[-1], fp[-1], inner)
    inner = np.where(below, fp[0] if left is None else left, inner)
    return np.where(above, fp[-1] if right is None else right, inner)


@implements(in_numpy("trapezoid"))
def trapezoid(y, x=None, dx=1.0, axis=-1):
    y = operand(y)
    axis = one_axis(axis, y.ndim)
    if x is not None:
        x = operand(x)
        dx = np.diff(x) if x.ndim == 1 else np.diff(x, axis=axis)
        if x.ndim == 1:
            dx = np.reshape(dx, (-1,) + (1,) * (-1 - axis))
    middle = slice_of(y, axis, 1, None) + slice_of(y, axis, 0, -1)
    return np.sum(dx * middle / 2.0, axis=axis)


@implements(np.gradient)
def gradient(f, *varargs, axis=None, edge_order=1):
    """Central differences inside, of `edge_order` 1 or 2 at the ends; by `f` and its spacing."""
    f = operand(f)
    f = f if f.dtype.kind in "fc" else f.astype(float)
    axes = list(range(-f.ndim, 0)) if axis is None else several_axes(axis, f.ndim)
    if edge_order not in (1, 2):
        raise ShapeError(f"np.gradient takes edge_order 1 or 2, got {edge_order}")
    if len(varargs) not in (0, 1, len(axes)) or (
        len(varargs) == 1 < len(axes) and np.ndim(varargs[0])
    ):
        raise ShapeError(
            f"np.gradient takes no spacing, one number for all axes, or one for each of the "
            f"{len(axes)}, got {len(varargs)}"
        )
    spacings = varargs if len(varargs) == len(axes) else (varargs or (1.0,)) * len(axes)
    found = [_slope(f, h, a, edge_order) for h, a in zip(spacings, axes, strict=True)]
    alone = len(axes) == 1 and (axis is None or not isinstance(axis, tuple | list))
    return found[0] if alone or len(found) == 1 else tuple(found)


def _slope(f, spacing, axis, edge_order):
    """The differences of `f` along one axis, at points of this spacing, or at these points."""
    count = f.shape[axis]
    if count < edge_order + 1:
        raise ShapeError(f"np.gradient takes {edge_order + 1} elements or more along an axis")
    at_points = np.ndim(spacing) > 0
    if at_points and len(spacing) != count:
        raise ShapeError(f"np.gradient got {len(spacing)} points for an axis of {count}")
    h = np.diff(operand(spacing)) if at_points else spacing

    def step(i, j):
        """The spacings from one to another, as they stand along the axis; a number if equal."""
        return np.reshape(h[i:j], (-1,) + (1,) * (-1 - axis)) if at_points else h

    def part(i, j):
        return slice_of(f, axis, i, j)

    before, after = step(0, -1), step(1, None)
    if at_points:
        inner = (
            -after / (before * (before + after)) * part(0, -2)
            + (after - before) / (before * after) * part(1, -1)
            + before / (after * (before + after)) * part(2, None)
        )
    else:
        inner = (part(2, None) - part(0, -2)) / (2.0 * h)
    if edge_order == 1:
        first = (part(1, 2) - part(0, 1)) / step(0, 1)
        last = (part(-1, None) - part(-2, -1)) / step(-1, None)
    else:
        first = _end_slope(part(0, 1), part(1, 2), part(2, 3), step(0, 1), step(1, 2))
        last = -_end_slope(part(-1, None), part(-2, -1), part(-3, -2), step(-1, None), step(-2, -1))
    return np.concatenate([first, inner, last], axis=axis)


def _end_slope(end, second, third, near, far):
    """The slope at an end of the parabola through three values, `near` and `far` apart."""
    whole = near + far
    return (
        -(2.0 * near + far) / (near * whole) * end
        + whole / (near * far) * second
        - near / (far * whole) * third
    )


@implements(np.ediff1d)
def ediff1d(ary, to_end=None, to_begin=None):
    ary = np.ravel(operand(ary))
    ends = [None if e is None else np.ravel(operand(e)) for e in (to_begin, to_end)]
    ends = [e if e is None else cast(e, ary.dtype) for e in ends]
    ends = [e if e is None or isinstance(e, Tensor) else _like(e, ary) for e in ends]
    return np.concatenate([e for e in (ends[0], np.diff(ary), ends[1]) if e is not None])


@implements(np.unwrap)
def unwrap(p, discont=None, axis=-1, *, period=2 * np.pi):
    """Angles without jumps: whole periods are added, which have no derivative."""
    axis = one_axis(axis, p.ndim)
    steps, half = np.diff(p.detach() if isinstance(p, Tensor) else p, axis=axis), period / 2
    short = np.remainder(steps + half, period) - half
    short = np.where((short == -half) & (steps > 0), half, short)
    added = np.where(abs(steps) < (half if discont is None else discont), 0, short - steps)
    moved = slice_of(p, axis, 1, None) + np.cumsum(added, axis=axis)
    return np.concatenate([slice_of(p, axis, 0, 1), moved], axis=axis)


# -- polynomials --------------------------------------------------------------------------------


@implements(np.vander)
def vander(x, N=None, increasing=False):
    if x.ndim != 1:
        raise ShapeError(f"np.vander takes a vector, got {list(x.shape)}")
    count = len(x) if N is None else integer(N, "`N` of np.vander")
    x = x.astype(np.promote_types(x.dtype, int), copy=False)  # as NumPy does
    powers = range(count) if increasing else range(count - 1, -1, -1)
    columns = [x**k for k in powers]
    return np.stack(columns, axis=1) if columns else np.reshape(x[:0], (len(x), 0))


@implements(np.polyval)
def polyval(p, x):
    p, x = operand(p), operand(x)
    value = np.zeros_like(raw(x))
    for coefficient in p:
        value = value * x + coefficient
    return value


@implements(np.polyfit)
def polyfit(x, y, deg, rcond=None, full=False, w=None, cov=False):
    """Coefficients of least squares, highest power first, by `x`, by `y` and by `w`.

    They are those of NumPy, corrected by a step of Newton's method, which is where the derivatives
    come from: for fixed coefficients c it is c + (A^T A)^-1 A^T (y - A c), whatever c is.
    """
    refuse("polyfit", "leave it out", rcond=rcond, full=full or None, cov=cov or None)
    x, y = (v if v.dtype.kind in "fc" else v.astype(float) for v in map(operand, (x, y)))
    start = np.polyfit(raw(x), raw(y), deg, w=None if w is None else raw(operand(w)))
    matrix = np.vander(x, deg + 1) if isinstance(x, Tensor) else vander(x, deg + 1)
    if w is not None:
        w = operand(w)
        matrix, y = matrix * w[:, None], y * (w[:, None] if y.ndim == 2 else w)
    back = conjugate(matrix.T)
    return start + np.linalg.solve(back @ matrix, back @ (y - matrix @ start))
