"""How far a parameter has come: from its first value, and in the step before.

Everything is read once, in blocks that stay in a core's cache: a network's parameters do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from tracer.extend import Array, backend, compiled, widened

#: elements of a block, 128 kB of float32
BLOCK = 1 << 15
#: elements of a gradient, from all over it, by which it is known again
SPOTS = 1 << 10


class Travelled(NamedTuple):
    """Squared lengths of the last update and of the way from the first value."""

    update: float = 0.0
    distance: float = 0.0


def travelled(
    now: Array, before: Array | None, initial: Array | None, copy: Array | None = None
) -> Travelled:
    """Of a parameter's arrays `[*p]`, of which `before` and `initial` may be missing.

    `now` is copied to `copy`, if given, while its blocks are at hand.
    """
    found = None
    if before is not None or initial is not None:
        found = compiled().travel(now, before, initial, copy)
    if found is not None:
        return Travelled(*found)
    update = distance = 0.0
    scratch: Array | None = None
    for p, old, first, into in _blocks(now, before, initial, copy):
        if into is not None:
            into[...] = p
        if old is None and first is None:
            continue
        p = widened(p)
        if scratch is None and type(p) is np.ndarray:
            scratch = np.empty_like(p)
        room = None if scratch is None else scratch[: len(p)]
        if first is not None:
            d = np.subtract(p, widened(first), out=room)
            distance += _dot(d, d)
        if old is not None:
            d = np.subtract(p, widened(old), out=room)
            update += _dot(d, d)
    return Travelled(update, distance)


class Trace(NamedTuple):
    """What is kept of a gradient of which a step may be a multiple, to know that it was.

    Its squared norm, elements from all over it, and the `factor` that the optimiser's options say;
    None where they say none.
    """

    squares: float
    spots: Array
    factor: float | None

    @classmethod
    def of(cls, gradient: Array, squares: float, factor: float | None) -> Trace:
        return cls(squares, _spots(gradient).copy(), factor)


def _spots(array: Array) -> Array:
    """About `SPOTS` elements, an odd number apart, so that they go through rows and columns."""
    flat = array.reshape(-1)
    return flat[:: max(1, flat.size // SPOTS) | 1]


def factor_of_trace(now: Array, before: Array, update: float, trace: Trace) -> float | None:
    """The factor c that an optimiser's options say, where the update has been `c g`; else None.

    The length of the update, whose square is `update`, and elements from all over it have to agree,
    to the rounding of the parameter: neither the gradient nor the parameter was changed besides.
    """
    c, size = trace.factor, now.size
    if c is None or not size:
        return None
    p, old = (widened(_spots(a)) for a in (now, before))
    rounding = _rounding(old)
    residual = p - old - c * widened(trace.spots)
    if not _dot(residual, residual) <= rounding:
        return None
    rounding *= size / len(old)
    eps = float(np.finfo(p.dtype).eps)
    slack = rounding + 4 * (rounding * update / size) ** 0.5 + 64 * eps * update
    return c if abs(update - c * c * trace.squares) <= slack else None


def factor_of_gradient(now: Array, before: Array, gradient: Array, trace: Trace) -> float | None:
    """c where the update has been `c g`, to the rounding of the parameter; None where it has not.

    None, too, where the gradient is no longer the one that was traced.
    """
    factor: Any = None
    dots = squares = 0.0
    for p, old, g in _blocks(now, before, gradient):
        old, g = widened(old), widened(g)
        s = widened(p) - old
        gg, sg = _dot(g, g), _dot(s, g)
        if factor is None and gg:
            factor = sg / gg
        if factor is not None:
            s -= factor * g  # in place: it is of this block
            squares, dots = squares + gg, dots + sg
            if not _dot(s, s) <= _rounding(old):
                return None
    eps = float(np.finfo(gradient.dtype).eps)
    if factor is None or abs(squares - trace.squares) > 64 * eps * trace.squares:
        return None
    return dots / squares


def _blocks(*arrays: Array | None) -> Iterator[tuple[Any, ...]]:
    """Blocks of arrays of one shape, as vectors; all at once of what is not NumPy's."""
    first: Any = arrays[0]
    flat = [None if a is None else a.reshape(-1) for a in arrays]
    step = BLOCK if type(first) is np.ndarray else max(1, first.size)
    for start in range(0, first.size, step):
        yield tuple(None if a is None else a[start : start + step] for a in flat)


def _rounding(p: Array) -> float:
    """The squared length of what rounding moves a block of a parameter by, generously."""
    return float(np.finfo(p.dtype).eps) ** 2 * (_dot(p, p) + float(np.finfo(p.dtype).tiny))


def _dot(a: Array, b: Array) -> float:
    return float(backend.to_host(a @ b)) if type(a) is not np.ndarray else float(np.dot(a, b))
