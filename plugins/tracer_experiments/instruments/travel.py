"""How far a parameter has come: from its first value, and in the step before.

Everything is read once, in blocks that stay in a core's cache: a network's parameters do not.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tracer.extend import Array, backend, widened

#: elements of a block, 256 kB of float32
BLOCK = 1 << 16


class Travelled(NamedTuple):
    """Squared lengths of the last update and of the way from the first value.

    `factor` is c where the update is `c g` for the gradient that it was taken with, to the rounding
    of the parameter; None where it is not, or no gradient was given. `gradient` is the squared norm
    of that.
    """

    update: float = 0.0
    distance: float = 0.0
    factor: float | None = None
    gradient: float = 0.0


def travelled(
    now: Array, before: Array | None, initial: Array | None, gradient: Array | None
) -> Travelled:
    """Of a parameter's arrays `[*p]`, of which all but `now` may be missing."""
    flat = [None if a is None else a.reshape(-1) for a in (now, before, initial, gradient)]
    step = max(1, now.size) if type(now) is not np.ndarray else BLOCK
    factor: Any = None
    sums = np.zeros(5)
    for start in range(0, now.size, step):
        p, old, first, g = (None if a is None else widened(a[start : start + step]) for a in flat)
        if first is not None:
            d = p - first
            sums[0] += _dot(d, d)
        if old is None:
            continue
        s = p - old
        sums[1] += _dot(s, s)
        if g is None:
            continue
        gg, sg = _dot(g, g), _dot(s, g)
        if factor is None and gg:
            factor = sg / gg
        if factor is not None:
            s -= factor * g  # in place: it is of this block
            residual = _dot(s, s)
            sums[2:] += gg, sg, residual
            if residual > _rounding(old):
                flat[3] = factor = None
    found = float(sums[3] / sums[2]) if factor is not None else None
    return Travelled(float(sums[1]), float(sums[0]), found, float(sums[2]))


def _rounding(p: Array) -> float:
    """The squared length of what rounding moves a block of a parameter by, generously."""
    return float(np.finfo(p.dtype).eps) ** 2 * (_dot(p, p) + float(np.finfo(p.dtype).tiny))


def _dot(a: Array, b: Array) -> float:
    return float(backend.to_host(a @ b)) if type(a) is not np.ndarray else float(np.dot(a, b))
