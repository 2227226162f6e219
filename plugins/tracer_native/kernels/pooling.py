"""Maxima over windows and what is spread to them: `source/pooling.hpp`."""

from __future__ import annotations

import math

import numpy as np

from tracer.extend import Array, Geometry
from tracer_native.kernels.base import Calling
from tracer_native.kernels.windows import (
    channels_first,
    channels_last,
    has_channels_last,
    numbers,
    takes,
)

#: elements from which on pooling pays
POOLED = 1 << 8
#: elements of a window up to which their numbers fit a byte
BYTE = 128


class Pooling(Calling):
    """Maxima over windows, and their gradient."""

    def maximum(self, x: Array, w: Geometry) -> Array | None:
        found = self._pooled(x, w, False)
        return None if found is None else found[0]

    def maximum_keeping(self, x: Array, w: Geometry) -> tuple[Array, Array] | None:
        found = self._pooled(x, w, True) if math.prod(w.kernel) < BYTE else None
        return None if found is None or found[1] is None else (found[0], found[1])

    def _pooled(self, x: Array, w: Geometry, keeping: bool) -> tuple[Array, Array | None] | None:
        """The maxima of windows, and in int8 which elements they are, or None."""
        fits = x.ndim > w.rank and x.shape[x.ndim - w.rank :] == w.size
        if not (fits and x.size >= POOLED and takes(w, x) and has_channels_last(x, w.rank)):
            return None
        lead, channels = x.shape[: x.ndim - w.rank - 1], x.shape[x.ndim - w.rank - 1]
        out = np.empty((*lead, *w.output, channels), x.dtype)
        winner = np.empty(out.shape, np.int8) if keeping else None
        geometry = numbers(w, math.prod(lead), 1, channels, channels)
        self._call("maximum", x.dtype, geometry, channels_last(self._call, x, w), out, winner)
        places = None if winner is None else channels_first(winner, w.rank)
        return channels_first(out, w.rank), places

    def spread_to_winners(self, y: Array, winner: Array, w: Geometry) -> Array | None:
        if type(winner) is not np.ndarray or winner.dtype != np.int8 or winner.ndim > y.ndim:
            return None
        if not (y.size >= POOLED and takes(w, y) and has_channels_last(winner, w.rank)):
            return None
        lead, channels = y.shape[: y.ndim - w.rank - 1], y.shape[y.ndim - w.rank - 1]
        held = math.prod(winner.shape[: winner.ndim - w.rank - 1])
        fits = winner.shape == y.shape[y.ndim - winner.ndim :]
        if not fits or y.shape[y.ndim - w.rank :] != w.output:
            return None
        out = np.empty((*lead, *w.size, channels), y.dtype)
        geometry = numbers(w, math.prod(lead), 1, channels, channels)
        rows = channels_last(self._call, y, w), channels_last(self._call, winner, w)
        self._call("spread", y.dtype, geometry, *rows, out, held)
        return channels_first(out, w.rank)
